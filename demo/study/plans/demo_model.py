"""The study of the demo model, whose results are ``docs/findings.md``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from promptatlas.types import ModelCard

from demo.study.plan import DOCS, Kind, Size, StudyPlan, Tuning, deep_method, soft_method, tuning
from demo.study.priors import (
    ISOTROPIC,
    TOKENS,
    VOCABULARY,
    XAVIER,
    Spec,
    activations_of,
    embeddings_of,
    exclusion,
    gaussian,
    interpolation,
)

MODEL: Final = "demo"
DATASETS: Final = ("demo-qa", "demo-cloze", "demo-arithmetic", "demo-arithmetic-cot", "demo-text")
TASKS: Final = {"qa": "demo-qa", "arithmetic": "demo-arithmetic"}
"""The tasks of the tuning runs: one in words, one in numbers."""

DEEP_LAYERS: Final = (-3, -2, -1)

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

FAR: Final[Spec] = {"kind": "isotropic", "std": 2.0}
"""About eight times as long as this model's embeddings."""

SOFT_PRIORS: Final[tuple[Spec, ...]] = (
    ISOTROPIC,
    XAVIER,
    TOKENS,
    gaussian(VOCABULARY),
    gaussian(embeddings_of("demo-text")),
    exclusion(VOCABULARY),
    interpolation(embeddings_of("demo-text"), embeddings_of("demo-arithmetic")),
    gaussian(VOCABULARY, scale=16.0),
    FAR,
)
DEEP_PRIORS: Final[tuple[Spec, ...]] = (
    ISOTROPIC,
    gaussian(activations_of("demo-text")),
    interpolation(activations_of("demo-text"), activations_of("demo-arithmetic")),
)


def tunings(size: Size, _rates: Mapping[Kind, float], _card: ModelCard) -> Sequence[Tuning]:
    """All tuning runs, longest first."""
    soft, deep = soft_method(size), deep_method(size, layers=DEEP_LAYERS)
    found = [_run(f"soft-{task}", task=task, method=soft, priors=SOFT_PRIORS, lr=RATE, size=size) for task in TASKS]
    found.append(_run("soft-qa-rates", task="qa", method=soft, priors=(ISOTROPIC, TOKENS), lr=(SLOW, FAST), size=size))
    # Tests whether longer vectors only need a proportionally higher learning rate.
    fast = (ISOTROPIC, TOKENS, FAR)
    found.append(_run("soft-arithmetic-fast", task="arithmetic", method=soft, priors=fast, lr=FAST, size=size))
    for suffix, lr in (("", RATE), ("-fast", DEEP_FAST)):
        found += [
            _run(f"deep-{task}{suffix}", task=task, method=deep, priors=DEEP_PRIORS, lr=lr, size=size) for task in TASKS
        ]
    return found


def _run(
    name: str, *, task: str, method: Spec, priors: Sequence[Spec], lr: float | Sequence[float], size: Size
) -> Tuning:
    return tuning(name, model=MODEL, dataset=TASKS[task], method=method, priors=priors, lr=lr, size=size)


DEMO_MODEL: Final = StudyPlan(
    name="demo",
    title="The paper's findings on the demo model",
    model=MODEL,
    weights=Path(__file__).resolve().parents[2] / "model",
    datasets=DATASETS,
    page=DOCS / "findings.md",
    full=FULL,
    tiny=TINY,
    tunings=tunings,
    # Two workers with one thread each: for a model of this size, more threads are slower.
    environ={"PROMPTATLAS_WORKERS": "2", "OMP_NUM_THREADS": "1"},
)
