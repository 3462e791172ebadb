"""The plan of a study: a value with its model, data, tuning runs, report and maps. ``plans`` has one module per model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from promptatlas import Client
from promptatlas.types import ModelCard

from demo.real.squad import Counter
from demo.study.priors import Spec

Kind = str
"""``soft`` or ``deep``: the methods whose best learning rates a study searches."""

PICTURES: Final = Path(__file__).resolve().parents[2] / "docs" / "pictures"
DOCS: Final = Path(__file__).resolve().parents[2] / "docs"


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a study.

    every: steps between validation losses. n, n_validation: test and validation examples per prompt. n_report: texts per dataset.
    n_map: texts per dataset on maps. samples: bootstrap samples. n_fit: texts that a prior is fitted to. vae_epochs: of
    training an autoencoder. max_context: tokens of a context in question answering. is_brief: some runs have fewer priors.
    """

    steps: int
    n_virtual: int = 20
    batch_size: int = 16
    seeds: tuple[int, ...] = (0, 1, 2)
    every: int = 20
    n: int = 200
    n_validation: int = 200
    n_report: int = 200
    n_map: int = 40
    n_trajectories: int = 50
    samples: int = 999
    n_fit: int = 128
    vae_epochs: int = 20
    max_context: int = 64
    is_brief: bool = False


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """One run of kind ``tune``. Its name is the prefix of its prompts' names. in_report: whether the report has its prompts."""

    name: str
    spec: Spec
    in_report: bool = True

    @property
    def n_members(self) -> int:
        """Number of prompts."""
        lr = self.spec["optimizer"]["lr"]
        return len(self.spec["priors"]) * len(self.spec["seeds"]) * (len(lr) if isinstance(lr, list) else 1)

    @property
    def n_draws(self) -> int:
        """Number of draws; prompts that differ only in their rate share one."""
        return len(self.spec["priors"]) * len(self.spec["seeds"])


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """A search for the learning rate with the lowest validation loss, of isotropic draws, over all its runs."""

    kind: Kind
    tunings: tuple[Tuning, ...]


@dataclass(frozen=True, kw_only=True)
class MapJob:
    """A map that the study makes."""

    name: str
    spec: Spec


class RealData(Protocol):
    """Datasets that are read from a folder of the user."""

    def require(self, folder: Path) -> None:
        """Raise DataError if a file is missing."""

    def upload(self, client: Client, *, folder: Path, count: Counter, size: Size) -> Mapping[str, int]:
        """Store the datasets on the server; returns the number of records by dataset. count: tokens of a text."""


Tunings = Callable[[Size, Mapping[Kind, float], ModelCard], Sequence[Tuning]]
Pilots = Callable[[Size, ModelCard], Sequence[Pilot]]
Maps = Callable[[Size, ModelCard, Mapping[str, Sequence[str]]], Sequence[MapJob]]


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A study of one model.

    Attributes:
        name: of the plan, as in ``--model``.
        model: name under which the model is served.
        weights: folder or GGUF file. fetch: makes the file; raises NotFetched.
        datasets: whose clouds are compared, in the order of the report.
        data: real datasets to upload; None: all datasets are built in.
        environ: settings of the service.
        brief: a smaller size whose number of steps is fixed; None: there is none.
        budget_minutes: default time limit; None: the study has one size and all its runs start at once.
        pilots: searches of learning rates, performed first. tunings: the runs at these rates, the most important ones first.
        maps: jobs, given the prompts of each run by its name.
        report_layers: of the report's clouds and trajectories; None: all.
        with_reasons: measure ``demo.study.reasons`` as well. chat_layers: at which texts with and without the chat template are
            compared.
        page: with the results. pictures: folder of the figures; None: no figures.
    """

    name: str
    title: str
    model: str
    weights: Path
    datasets: tuple[str, ...]
    page: Path
    full: Size
    tiny: Size
    tunings: Tunings
    environ: Mapping[str, str] = field(default_factory=dict)
    fetch: Callable[[Path], object] | None = None
    data: RealData | None = None
    brief: Size | None = None
    budget_minutes: float | None = None
    pilots: Pilots = lambda _size, _card: ()
    maps: Maps = lambda _size, _card, _prompts: ()
    report_layers: Callable[[ModelCard], Sequence[int] | None] = lambda _card: None
    with_reasons: bool = False
    chat_layers: Callable[[ModelCard], Sequence[int]] = lambda card: [card.n_layers - 1]
    pictures: Path | None = None
    max_tokens: int = 24

    def report_spec(self, *, prompts: Sequence[str], size: Size, card: ModelCard) -> Spec:
        """Spec of the report over all prompts and datasets."""
        layers = self.report_layers(card)
        return {
            "model": self.model,
            "datasets": list(self.datasets),
            "prompts": list(prompts),
            "layers": "all" if layers is None else list(layers),
            "n": size.n_report,
            "n_trajectories": size.n_trajectories,
            "max_tokens": self.max_tokens,
            "samples": size.samples,
            "title": self.title,
        }


def tuning(
    name: str,
    *,
    model: str,
    dataset: str,
    method: Spec,
    priors: Sequence[Spec],
    lr: float | Sequence[float],
    size: Size,
    seeds: Sequence[int] | None = None,
    in_report: bool = True,
) -> Tuning:
    """A run of kind ``tune`` with the size of the study. seeds: None: those of the size."""
    spec = {
        "model": model,
        "dataset": dataset,
        "name": name,
        "method": method,
        "priors": list(priors),
        "seeds": list(size.seeds if seeds is None else seeds),
        "optimizer": {
            "lr": lr if isinstance(lr, float) else list(lr),
            "steps": size.steps,
            "batch_size": size.batch_size,
        },
        "eval": {"every": size.every, "metrics": ["exact_match", "f1", "loss"], "splits": ["test"], "n": size.n},
    }
    return Tuning(name=name, spec=spec, in_report=in_report)


def soft_method(size: Size) -> Spec:
    """Vectors in front of the token embeddings."""
    return {"kind": "soft", "n_virtual": size.n_virtual}


def deep_method(size: Size, *, layers: Sequence[int]) -> Spec:
    """Vectors at the inputs of some layers, each visible to its own layer only, as in the paper."""
    return {"kind": "deep", "n_virtual": size.n_virtual, "layers": list(layers), "where": "local"}
