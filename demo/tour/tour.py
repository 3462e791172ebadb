"""A tour as a value: the model, its tasks and runs, and when the tour has succeeded. demo/tour/tours has one for each model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from demo.real.datasets import RealDataset
from demo.real.squad import Counter
from demo.tour.jobs import Job
from demo.tour.report.verdict import Rule
from demo.tour.server import READY_WITHIN_S

Chat = Callable[[str], str]
"""The text that a model reads for a user's message, up to the beginning of its answer."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a tour; None: the value of the tour.

    n_steps: steps of every run. n_asked: held-out examples for the evaluation of each prompt. n_seeds: seeds per prior. dtype: of
    a pretrained model.
    """

    n_steps: int | None = None
    n_asked: int | None = None
    n_seeds: int | None = None
    dtype: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task, and how the model is instructed to solve it without a tuned prompt.

    Attributes:
        title: in tables and on the map.
        dataset: its name on the server.
        reference: label of the variant with an instruction in the text.
        frame: that text, with ``{input}`` for the input of the dataset.
        target: template of the answer under the instruction, to measure its loss; None: it is not evaluated.
        max_tokens: limit of served answers.
        mixes_seeds: whether an equal mix of the seeds of the best prior is one of the variants.
    """

    title: str
    dataset: str
    reference: str
    frame: Callable[[Chat], str]
    target: str | None = None
    max_tokens: int = 10
    mixes_seeds: bool = True


@dataclass(frozen=True, kw_only=True)
class Leads:
    """What the steps print above their results. remarks: printed with the verdicts."""

    tuning: str
    serving: str
    remarks: str = ""


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """What is on the map.

    layers: inputs of these blocks; negative ones count from the end. n_vocabulary: size of a sample of the vocabulary; None: all
    tokens. n_texts: texts per task. n_token_texts: texts per task whose tokens are points as well.
    """

    layers: tuple[int, ...]
    n_vocabulary: int | None = None
    n_texts: int = 200
    n_token_texts: int = 0

    @property
    def tokens(self) -> str:
        """The tokens of the map in words."""
        vocabulary = "all tokens" if self.n_vocabulary is None else f"{self.n_vocabulary:,} tokens of the vocabulary"
        return f"{vocabulary} and the tokens of some texts" if self.n_token_texts else vocabulary


@dataclass(frozen=True, kw_only=True)
class Tour:
    """Everything that differs between models.

    Attributes:
        model: its name on the service.
        path: its folder or GGUF file.
        jobs: tuning runs; the first one of a task has soft prompts.
        uploads: datasets that are stored first, given a counter of the model's tokens.
        settings: of the service, besides the model and the store.
        ready_within_s: time limit for loading the model.
    """

    model: str
    path: Path
    tasks: tuple[Task, ...]
    jobs: tuple[Job, ...]
    rule: Rule
    leads: Leads
    mapped: Mapped
    uploads: Callable[[Counter], Sequence[RealDataset]] = lambda count: ()
    settings: Mapping[str, str] = field(default_factory=dict)
    ready_within_s: float = READY_WITHIN_S

    def jobs_of(self, task: Task) -> tuple[Job, ...]:
        """The runs of a task."""
        return tuple(job for job in self.jobs if job.dataset == task.dataset)
