"""The tour of SmolLM2-135M-Instruct, and of any other pretrained model: soft prompts for real arithmetic and SQuAD.

The sizes are chosen for two CPU cores. The learning rate of arithmetic lies between two that were tried for 16 steps each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.models.smollm2 import PATH, fetch
from demo.real import arithmetic as maths
from demo.real import squad as reading
from demo.real.datasets import RealDataset
from demo.real.folder import require
from demo.real.squad import Counter
from demo.tour.formats import Format
from demo.tour.jobs import Job, Spec
from demo.tour.questions import INPUT
from demo.tour.report.verdict import FormatRule
from demo.tour.tour import Leads, Mapped, Size, Task, Tour

REFERENCE: Final = "instructed"
N_VIRTUAL: Final = 20
N_ASKED: Final = 100
N_TEXTS: Final = 256
"""Number of texts whose token embeddings a prior is fitted to."""
MAX_CONTEXT_TOKENS: Final = 64
READY_WITHIN_S: Final = 600.0
"""A GGUF file is converted first, and the start-up checks run a few forwards."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A task of the tour with its run. also: further metrics. answer_tokens: limit of an answer; longer ones are no answers."""

    title: str
    dataset: str
    instruction: str
    metric: str
    also: tuple[str, ...] = ()
    format: Format
    answer_tokens: int
    lr: float
    steps: int
    every: int
    batch_size: int


PLANS: Final[tuple[Plan, ...]] = (
    Plan(
        title="arithmetic",
        dataset=maths.NAME,
        instruction="Calculate the result. Reply with the number only, without any words.",
        # Not exact match, whose normal form ignores signs and decimal points.
        metric="accuracy",
        format="number",
        answer_tokens=16,
        lr=0.03,
        steps=80,
        every=20,
        batch_size=8,
    ),
    Plan(
        title="SQuAD",
        dataset=reading.NAME,
        instruction="Answer the question with a short span that is copied from the text. Reply with the span only.",
        metric="exact_match",
        also=("f1",),
        format="span",
        answer_tokens=24,
        lr=0.03,
        steps=50,
        every=25,
        batch_size=8,
    ),
)


def smollm2_tour(size: Size, *, data: Path) -> Tour:
    """The tour of SmolLM2-135M-Instruct. The model is fetched if its file is missing.

    Raises:
        MissingData: files of the real data are missing.
        NotFetched: the model is missing and could not be downloaded.
    """
    tour = real_tour(size, data=data, path=PATH, model="smollm2")
    fetch(PATH)
    return tour


def real_tour(size: Size, *, data: Path, path: Path, model: str) -> Tour:
    """The same tour of another pretrained model, a folder or a GGUF file. model: its name on the service.

    Raises:
        MissingData: files of the real data are missing.
    """
    require(data, files=[*maths.arithmetic_files(), *reading.squad_files()])

    def uploads(count: Counter) -> Sequence[RealDataset]:
        return maths.arithmetic(data), reading.squad(data, max_tokens=MAX_CONTEXT_TOKENS, count=count)

    return Tour(
        model=model,
        path=path,
        tasks=tuple(_task(one, size=size) for one in PLANS),
        jobs=tuple(_job(one, size=size) for one in PLANS),
        rule=FormatRule(),
        leads=_leads(),
        mapped=Mapped(layers=(0, -10, -1), n_vocabulary=5000, n_texts=100, n_token_texts=20),
        uploads=uploads,
        # One run after the other with all cores: a step of this model occupies them.
        settings={"PROMPTATLAS_WORKERS": "1", "PROMPTATLAS_DTYPE": size.dtype},
        ready_within_s=READY_WITHIN_S,
    )


def _task(plan: Plan, *, size: Size) -> Task:
    return Task(
        title=plan.title,
        dataset=plan.dataset,
        reference=REFERENCE,
        frame=lambda chat: chat(f"{plan.instruction}\n\n{INPUT}"),
        # After the beginning of an answer in the chat template there is no space.
        target="{answer}",
        max_tokens=plan.answer_tokens,
        mixes_seeds=(size.n_seeds or 1) > 1,
    )


def _job(plan: Plan, *, size: Size) -> Job:
    steps = size.n_steps or plan.steps
    return Job(
        title=f"{plan.title}, soft",
        name=f"{plan.dataset}-soft",
        dataset=plan.dataset,
        method={"kind": "soft", "n_virtual": N_VIRTUAL},
        priors=_priors(plan.dataset),
        seeds=tuple(range(size.n_seeds or 1)),
        optimizer={"lr": plan.lr, "steps": steps, "batch_size": plan.batch_size},
        eval={"every": min(plan.every, steps), "n": size.n_asked or N_ASKED, "max_tokens": plan.answer_tokens},
        metric=plan.metric,
        also=plan.also,
        format=plan.format,
    )


def _priors(dataset: str) -> Mapping[str, Spec]:
    """Vectors much shorter than embeddings, and vectors as long and as correlated as those of the task's tokens."""
    return {
        "isotropic 0.02": {"kind": "isotropic", "std": 0.02},
        "fitted": {"kind": "gaussian", "fit": {"embeddings": {"dataset": dataset, "n": N_TEXTS}}},
    }


def _leads() -> Leads:
    return Leads(
        tuning="Soft prompts for arithmetic (DeepMind, easy and medium) and SQuAD (cut contexts), from two priors in one run per "
        "task: [bold]isotropic 0.02[/] is much shorter than token embeddings, [bold]fitted[/] is a Gaussian of the embeddings of "
        "the task's tokens. Test questions share no operands and no article with training questions.",
        serving="Held-out questions under the best prompt of each run, by validation loss. [bold]bare[/] is the question alone. "
        f"[bold]{REFERENCE}[/] is the model with its chat template and an instruction. An answer is correct if it is exactly an "
        "expected one and ends there.",
        remarks="What a prompt can win: it adds no knowledge to a frozen model and no ability to calculate. It can bring answers "
        "into the format and end them, and lower the loss that the wrong format causes. Accuracy, exact match and F1 rise where "
        "the model can find the answer but does not give it in the format. What remains are errors of the "
        "model itself.",
    )
