"""Specs of the study's tuning runs and report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Spec = Mapping[str, Any]

DATASETS: Final = ("demo-qa", "demo-cloze", "demo-arithmetic", "demo-arithmetic-cot", "demo-text")
"""The datasets whose clouds are compared."""

TASKS: Final = {"qa": "demo-qa", "arithmetic": "demo-arithmetic"}
"""The tasks of the tuning runs: one in words, one in numbers."""

DEEP_LAYERS: Final = (-3, -2, -1)


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a study. n: test examples per prompt. n_report: texts per dataset. samples: bootstrap samples."""

    steps: int
    n_virtual: int = 20
    batch_size: int = 16
    seeds: tuple[int, ...] = (0, 1, 2)
    every: int = 20
    n: int = 200
    n_report: int = 200
    n_trajectories: int = 50
    samples: int = 999


FULL: Final = Size(steps=400)
TINY: Final = Size(
    steps=2, n_virtual=2, batch_size=2, seeds=(0, 1), every=1, n=4, n_report=20, n_trajectories=4, samples=99
)
"""A smoke test of the study's code that takes a few seconds."""

RATE: Final = 1e-2
SLOW: Final = 1e-3
FAST: Final = 5e-2
DEEP_FAST: Final = 2.0
"""States at the last layers are about 100 times as long as ``ISOTROPIC`` vectors, so distances are as well."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """One run of kind ``tune``. Its name is the prefix of its prompts' names."""

    name: str
    spec: Spec


def embeddings_of(dataset: str) -> Spec:
    """Token embeddings with their frequencies in a dataset."""
    return {"embeddings": {"dataset": dataset, "n": 256}}


def activations_of(dataset: str) -> Spec:
    """States of a dataset's tokens at the layer of the vectors."""
    return {"activations": {"dataset": dataset, "n": 256}}


def gaussian(fit: Spec, *, scale: float = 1.0) -> Spec:
    """N(mu, scale·Sigma) of a cloud."""
    return {"kind": "gaussian", "fit": fit, "scale": scale}


VOCABULARY: Final[Spec] = {"embeddings": "vocabulary"}
ISOTROPIC: Final[Spec] = {"kind": "isotropic", "std": 0.02}
TOKENS: Final[Spec] = {"kind": "vocabulary"}
FAR: Final[Spec] = {"kind": "isotropic", "std": 2.0}
"""About eight times as long as this model's embeddings."""

SOFT_PRIORS: Final[tuple[Spec, ...]] = (
    ISOTROPIC,
    {"kind": "xavier"},
    TOKENS,
    gaussian(VOCABULARY),
    gaussian(embeddings_of("demo-text")),
    {"kind": "exclusion", "fit": VOCABULARY},
    {
        "kind": "interpolation",
        "from": gaussian(embeddings_of("demo-text")),
        "to": gaussian(embeddings_of("demo-arithmetic")),
    },
    gaussian(VOCABULARY, scale=16.0),
    FAR,
)
DEEP_PRIORS: Final[tuple[Spec, ...]] = (
    ISOTROPIC,
    gaussian(activations_of("demo-text")),
    {
        "kind": "interpolation",
        "from": gaussian(activations_of("demo-text")),
        "to": gaussian(activations_of("demo-arithmetic")),
    },
)


def tunings(*, model: str, size: Size) -> list[Tuning]:
    """All tuning runs, longest first."""
    soft = {"kind": "soft", "n_virtual": size.n_virtual}
    deep = {"kind": "deep", "n_virtual": size.n_virtual, "layers": list(DEEP_LAYERS), "where": "local"}
    found = [
        _tuning(f"soft-{task}", model=model, dataset=dataset, method=soft, priors=SOFT_PRIORS, lr=RATE, size=size)
        for task, dataset in TASKS.items()
    ]
    found.append(
        _tuning(
            "soft-qa-rates",
            model=model,
            dataset=TASKS["qa"],
            method=soft,
            priors=(ISOTROPIC, TOKENS),
            lr=[SLOW, FAST],
            size=size,
        )
    )
    # Tests whether longer vectors only need a proportionally higher learning rate.
    found.append(
        _tuning(
            "soft-arithmetic-fast",
            model=model,
            dataset=TASKS["arithmetic"],
            method=soft,
            priors=(ISOTROPIC, TOKENS, FAR),
            lr=FAST,
            size=size,
        )
    )
    for suffix, lr in (("", RATE), ("-fast", DEEP_FAST)):
        found += [
            _tuning(
                f"deep-{task}{suffix}", model=model, dataset=dataset, method=deep, priors=DEEP_PRIORS, lr=lr, size=size
            )
            for task, dataset in TASKS.items()
        ]
    return found


def report_spec(*, model: str, prompts: Sequence[str], size: Size) -> Spec:
    """Spec of the report over all prompts and datasets."""
    return {
        "model": model,
        "datasets": list(DATASETS),
        "prompts": list(prompts),
        "n": size.n_report,
        "n_trajectories": size.n_trajectories,
        "samples": size.samples,
        "title": "The paper's findings on the demo model",
    }


def _tuning(
    name: str, *, model: str, dataset: str, method: Spec, priors: Sequence[Spec], lr: float | list[float], size: Size
) -> Tuning:
    spec = {
        "model": model,
        "dataset": dataset,
        "name": name,
        "method": method,
        "priors": list(priors),
        "seeds": list(size.seeds),
        "optimizer": {"lr": lr, "steps": size.steps, "batch_size": size.batch_size},
        "eval": {"every": size.every, "metrics": ["exact_match", "f1", "loss"], "splits": ["test"], "n": size.n},
    }
    return Tuning(name=name, spec=spec)
