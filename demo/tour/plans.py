"""The demo's four runs: soft and deep prompts for two tasks, each with the same priors × seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from demo.tour.jobs import Job, Spec, fitted_to

Task = Literal["qa", "arithmetic"]
Kind = Literal["soft", "deep"]

TASKS: Final[Mapping[Task, str]] = {"qa": "question answering", "arithmetic": "arithmetic"}
N_TEXTS: Final = 200
"""Number of texts that a prior is fitted to."""
N_VIRTUAL: Final = 20
DEEP_LAYERS: Final = (0, -3, -2, -1)
"""As in the paper: the token embeddings and the last three layers, each visible to its own layer only."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Training schedule of a run. lr: states of upper layers are 50 times as long as embeddings, and need larger steps."""

    lr: float
    steps: int
    every: int


# Chosen on validation loss. For question answering the rate is low, so that priors differ in the number of steps.
SCHEDULES: Final[Mapping[tuple[Task, Kind], Schedule]] = {
    ("qa", "soft"): Schedule(lr=5e-3, steps=100, every=5),
    ("arithmetic", "soft"): Schedule(lr=2e-2, steps=200, every=10),
    ("qa", "deep"): Schedule(lr=0.15, steps=100, every=5),
    ("arithmetic", "deep"): Schedule(lr=0.5, steps=250, every=10),
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of the demo.

    n_steps: steps of every run; None keeps the value of each run. n_asked: held-out examples for the evaluation of each
    prompt. n_seeds: seeds per prior.
    """

    n_steps: int | None = None
    n_asked: int = 100
    n_seeds: int = 2


def plan(size: Size) -> list[Job]:
    """All runs."""
    return [_job(task, kind, schedule=schedule, size=size) for (task, kind), schedule in SCHEDULES.items()]


def prompt_name(task: Task, kind: Kind) -> str:
    """Prefix of the names of a run's prompts."""
    return f"{task}-{kind}"


def _job(task: Task, kind: Kind, *, schedule: Schedule, size: Size) -> Job:
    steps = size.n_steps or schedule.steps
    soft: Spec = {"kind": "soft", "n_virtual": N_VIRTUAL}
    deep: Spec = {"kind": "deep", "n_virtual": N_VIRTUAL, "layers": list(DEEP_LAYERS), "where": "local"}
    return Job(
        title=f"{TASKS[task]}, {kind}",
        name=prompt_name(task, kind),
        dataset=f"demo-{task}",
        method=soft if kind == "soft" else deep,
        priors=_priors(task),
        seeds=tuple(range(size.n_seeds)),
        optimizer={"lr": schedule.lr, "steps": steps, "batch_size": 8},
        eval={"every": min(schedule.every, steps), "n": size.n_asked},
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
