"""The demo's four runs: soft and deep prompts for two tasks, each under the same priors × seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from demo.tour.jobs import Job, Spec, fitted_to

Task = Literal["qa", "arithmetic"]
Kind = Literal["soft", "deep"]

TASKS: Final[Mapping[Task, str]] = {"qa": "question answering", "arithmetic": "arithmetic"}
N_TEXTS: Final = 200
"""Texts that a prior is fitted to."""
N_VIRTUAL: Final = 20
DEEP_LAYERS: Final = (0, -3, -2, -1)
"""The paper's: the token embeddings and the last three layers, each seen by its own layer only."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long a run trains. lr: states of upper layers are fifty times as long as embeddings, so are good steps."""

    lr: float
    steps: int
    every: int


# Chosen on validation loss: for question answering so small that the priors can be told apart by how long they take.
PACES: Final[Mapping[tuple[Task, Kind], Pace]] = {
    ("qa", "soft"): Pace(lr=5e-3, steps=100, every=5),
    ("arithmetic", "soft"): Pace(lr=2e-2, steps=200, every=10),
    ("qa", "deep"): Pace(lr=0.15, steps=100, every=5),
    ("arithmetic", "deep"): Pace(lr=0.5, steps=250, every=10),
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is done.

    n_steps: of every run, in place of its own. n_asked: held-out examples that each prompt is measured on. n_seeds: of
    each prior.
    """

    n_steps: int | None = None
    n_asked: int = 100
    n_seeds: int = 2


def plan(size: Size) -> list[Job]:
    """All runs."""
    return [_job(task, kind, pace=pace, size=size) for (task, kind), pace in PACES.items()]


def prompt_name(task: Task, kind: Kind) -> str:
    """How the prompts of a run begin."""
    return f"{task}-{kind}"


def _job(task: Task, kind: Kind, *, pace: Pace, size: Size) -> Job:
    steps = size.n_steps or pace.steps
    soft: Spec = {"kind": "soft", "n_virtual": N_VIRTUAL}
    deep: Spec = {"kind": "deep", "n_virtual": N_VIRTUAL, "layers": list(DEEP_LAYERS), "where": "local"}
    return Job(
        title=f"{TASKS[task]}, {kind}",
        name=prompt_name(task, kind),
        dataset=f"demo-{task}",
        method=soft if kind == "soft" else deep,
        priors=_priors(task),
        seeds=tuple(range(size.n_seeds)),
        optimizer={"lr": pace.lr, "steps": steps, "batch_size": 8},
        eval={"every": min(pace.every, steps), "n": size.n_asked},
    )


def _priors(task: Task) -> Mapping[str, Spec]:
    fitted = {name: fitted_to(f"demo-{name}", n_texts=N_TEXTS) for name in TASKS}
    return {
        "isotropic 0.02": {"kind": "isotropic", "std": 0.02},
        "fitted": fitted[task],
        "fitted, 5× as wide": fitted_to(f"demo-{task}", n_texts=N_TEXTS, scale=25.0),
        "exclusion": {"kind": "exclusion", "fit": fitted[task]["fit"]},
        "between both tasks": {"kind": "interpolation", "from": fitted["qa"], "to": fitted["arithmetic"]},
    }
