"""The tour of the demo model: soft and deep prompts for two tasks, each with the same priors × seeds."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from demo.scaffold import HEADERS
from demo.tour.jobs import Job, Spec, fitted_to
from demo.tour.questions import INPUT
from demo.tour.report.verdict import AccuracyRule
from demo.tour.tour import Leads, Mapped, Size, Task, Tour

TaskName = Literal["qa", "arithmetic"]
Kind = Literal["soft", "deep"]

FOLDER: Final = Path(__file__).resolve().parents[2] / "model"
MAX_WORKERS: Final = 4
REFERENCE: Final = "header typed"
TASKS: Final[Mapping[TaskName, str]] = {"qa": "question answering", "arithmetic": "arithmetic"}
N_TEXTS: Final = 200
"""Number of texts that a prior is fitted to."""
N_VIRTUAL: Final = 20
N_ASKED: Final = 100
N_SEEDS: Final = 2
DEEP_LAYERS: Final = (0, -3, -2, -1)
"""As in the paper: the token embeddings and the last three layers, each visible to its own layer only."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Training schedule of a run. lr: states of upper layers are 50 times as long as embeddings, and need larger steps."""

    lr: float
    steps: int
    every: int


# Chosen on validation loss. For question answering the rate is low, so that priors differ in the number of steps.
SCHEDULES: Final[Mapping[tuple[TaskName, Kind], Schedule]] = {
    ("qa", "soft"): Schedule(lr=5e-3, steps=100, every=5),
    ("arithmetic", "soft"): Schedule(lr=2e-2, steps=200, every=10),
    ("qa", "deep"): Schedule(lr=0.15, steps=100, every=5),
    ("arithmetic", "deep"): Schedule(lr=0.5, steps=250, every=10),
}


def demo_tour(size: Size) -> Tour:
    """The tour on the demo model."""
    jobs = plan(size)
    return Tour(
        model="demo",
        path=FOLDER,
        tasks=tuple(_task(task, title=title) for task, title in TASKS.items()),
        jobs=tuple(jobs),
        rule=AccuracyRule(),
        leads=Leads(
            tuning="Both tasks are used without the header line with which the model was trained on them. Each run trains the "
            f"product of {len(jobs[0].priors)} priors × {len(jobs[0].seeds)} seeds together in one frozen model.",
            serving="Held-out questions under the best prompt of each run, by validation loss. [bold]bare[/] is the model "
            f"without a prompt. [bold]{REFERENCE}[/] has the header line in the text. [bold]seeds mixed[/] is an equal mix of "
            "both seeds.",
        ),
        mapped=Mapped(layers=DEEP_LAYERS),
        settings=_settings(),
    )


def _task(task: TaskName, *, title: str) -> Task:
    return Task(
        title=title, dataset=f"demo-{task}", reference=REFERENCE, frame=lambda chat: f"{HEADERS[task][0]}\n{INPUT}"
    )


def _settings() -> Mapping[str, str]:
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_workers = min(MAX_WORKERS, n_cores)
    return {
        "PROMPTATLAS_WORKERS": str(n_workers),
        # All questions must fit in one batch.
        "PROMPTATLAS_MAX_BATCH": "512",
        # For a model of this size, parallel runs are faster than more threads per run.
        "OMP_NUM_THREADS": str(max(1, n_cores // n_workers)),
    }


def plan(size: Size) -> list[Job]:
    """All runs."""
    return [_job(task, kind, schedule=schedule, size=size) for (task, kind), schedule in SCHEDULES.items()]


def prompt_name(task: TaskName, kind: Kind) -> str:
    """Prefix of the names of a run's prompts."""
    return f"{task}-{kind}"


def _job(task: TaskName, kind: Kind, *, schedule: Schedule, size: Size) -> Job:
    steps = size.n_steps or schedule.steps
    soft: Spec = {"kind": "soft", "n_virtual": N_VIRTUAL}
    deep: Spec = {"kind": "deep", "n_virtual": N_VIRTUAL, "layers": list(DEEP_LAYERS), "where": "local"}
    return Job(
        title=f"{TASKS[task]}, {kind}",
        name=prompt_name(task, kind),
        dataset=f"demo-{task}",
        method=soft if kind == "soft" else deep,
        priors=_priors(task),
        seeds=tuple(range(size.n_seeds or N_SEEDS)),
        optimizer={"lr": schedule.lr, "steps": steps, "batch_size": 8},
        eval={"every": min(schedule.every, steps), "n": size.n_asked or N_ASKED},
    )


def _priors(task: TaskName) -> Mapping[str, Spec]:
    fitted = {name: fitted_to(f"demo-{name}", n_texts=N_TEXTS) for name in TASKS}
    return {
        "isotropic 0.02": {"kind": "isotropic", "std": 0.02},
        "fitted": fitted[task],
        "fitted, 5× as wide": fitted_to(f"demo-{task}", n_texts=N_TEXTS, scale=25.0),
        "exclusion": {"kind": "exclusion", "fit": fitted[task]["fit"]},
        "between both tasks": {"kind": "interpolation", "from": fitted["qa"], "to": fitted["arithmetic"]},
    }
