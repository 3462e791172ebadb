"""The results of a tuning run, read through the SDK: scores, curves, and the displacement of each prompt."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from promptatlas import Client, Curves, Run
from safetensors.numpy import load_file

from demo.tour.clouds import Array, Clouds, Distances, mean_of
from demo.tour.formats import format_shares
from demo.tour.jobs import Job
from demo.tour.progress import seconds_of


@dataclass(frozen=True, kw_only=True)
class Score:
    """A mean over held-out examples and its 95 % interval; None if it was not requested."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def find(cls, metrics: Mapping[str, float], name: str) -> "Score | None":
        """The metric with this name, if it was measured."""
        if name not in metrics:
            return None
        return cls(value=metrics[name], low=metrics.get(f"{name}_low"), high=metrics.get(f"{name}_high"))


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Validation losses `[n]` in nats per answer token, and the steps `[n]` after which they were measured."""

    steps: npt.NDArray[np.int64]
    losses: npt.NDArray[np.float64]

    def first_at(self, loss: float) -> int | None:
        """The first step with at most this loss."""
        reached = np.flatnonzero(self.losses <= loss)
        return int(self.steps[reached[0]]) if len(reached) else None


@dataclass(frozen=True, kw_only=True)
class Member:
    """One tuned prompt of a run.

    prior: its label. metrics: those of its manifest, and ``format`` if the job has one. distances_by_tensor: empty for a
    prefix, which has no vectors.
    """

    prior: str
    seed: int
    lr: float
    prompt: str
    status: str
    metrics: Mapping[str, float]
    curve: Curve | None
    draw: Mapping[str, Array] = field(repr=False)
    posterior: Mapping[str, Array] = field(repr=False)
    distances_by_tensor: Mapping[str, Distances] = field(default_factory=dict)

    @property
    def distances(self) -> Distances | None:
        """Means over all tensors; each has the same number of vectors."""
        return mean_of(list(self.distances_by_tensor.values())) if self.distances_by_tensor else None

    def before(self, metric: str) -> Score | None:
        """Score of the draw on the test split."""
        return Score.find(self.metrics, f"draw/test/{metric}")

    def after(self, metric: str) -> Score | None:
        """Score of the tuned vectors on the test split."""
        return Score.find(self.metrics, f"test/{metric}")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The results of a successful run. members: in the run's order. seconds: its duration."""

    job: Job
    run_id: str
    seconds: float
    members: tuple[Member, ...]

    def bare(self, metric: str) -> Score | None:
        """Score of the model without a prompt on the test split."""
        return Score.find(self.members[0].metrics, f"bare/test/{metric}")

    @cached_property
    def common_loss(self) -> float | None:
        """The lowest validation loss that all members reach; None if a member has no curve."""
        curves = [member.curve for member in self.members]
        return max(float(curve.losses.min()) for curve in curves if curve) if all(curves) else None

    def steps_to_common(self, member: Member) -> int | None:
        """Number of steps after which a member reaches the common loss."""
        return member.curve.first_at(self.common_loss) if member.curve and self.common_loss is not None else None

    @property
    def best(self) -> Member:
        """The member with the lowest validation loss; the test split does not influence the selection."""
        return min(self.members, key=lambda member: member.metrics.get("validation/loss", float("inf")))


def read_outcome(client: Client, run: Run, *, job: Job, clouds: Clouds) -> Outcome:
    """Fetch members, curves, draws and tuned vectors of a successful run."""
    curves = run.metrics()
    rows = [_with_format(row, run=run, job=job) for row in json.loads(run.read("members.json"))]
    with tempfile.TemporaryDirectory() as name:
        members = tuple(
            _member(
                client,
                run,
                row,
                prior=job.label(i),
                curve=_curve(curves, row["name"]),
                folder=Path(name),
                clouds=clouds,
            )
            for i, row in enumerate(rows)
        )
    return Outcome(job=job, run_id=run.id, seconds=seconds_of(run), members=members)


def _with_format(row: Mapping[str, Any], *, run: Run, job: Job) -> Mapping[str, Any]:
    if job.format is None:
        return row
    shares = format_shares(run.read("evaluation.jsonl"), form=job.format, member=row["name"])
    return {**row, "metrics": {**row["metrics"], **shares}}


def _member(
    client: Client, run: Run, row: Mapping[str, Any], *, prior: str, curve: Curve | None, folder: Path, clouds: Clouds
) -> Member:
    prompt = row["prompt"]
    draw = load_file(run.download(f"draws/{prompt}.safetensors", to=folder / "draw.safetensors"))
    posterior = load_file(client.prompts.download(prompt, to=folder / "posterior.safetensors"))
    return Member(
        prior=prior,
        seed=row["seed"],
        lr=row["lr"],
        prompt=prompt,
        status=row["status"],
        metrics=row["metrics"],
        curve=curve,
        draw=draw,
        posterior=posterior,
        distances_by_tensor={} if "prefix" in posterior else clouds.distances(draw, posterior),
    )


def _curve(curves: Curves, member: str) -> Curve | None:
    try:
        steps, losses = curves.curve("validation_loss", member=member)
    except KeyError:  # no validation split
        return None
    return Curve(steps=steps, losses=losses)
