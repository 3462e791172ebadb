"""Hand-written outcomes for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from demo.tour.clouds import Distances
from demo.tour.jobs import Job
from demo.tour.outcomes import Curve, Member, Outcome

LOSSES = {"near": ([8.0, 0.5, 0.2], 0.99), "far": ([8.0, 4.0, 0.6], 0.70)}
STEPS = [0, 10, 20]


def job(**changes: object) -> Job:
    fields = {
        "title": "tried",
        "name": "t",
        "dataset": "d",
        "method": {"kind": "soft", "n_virtual": 2},
        "priors": {"near": {"kind": "isotropic", "std": 0.02}, "far": {"kind": "isotropic", "std": 5.0}},
        "seeds": (3,),
        "optimizer": {"lr": 0.01, "steps": 20},
        "eval": {"every": 10},
    }
    return Job(**{**fields, **changes})  # type: ignore[arg-type]


def member(prior: str, *, losses: Sequence[float], after: float, before: float = 0.0, bare: float = 0.0) -> Member:
    metrics: Mapping[str, float] = {
        "bare/test/exact_match": bare,
        "draw/test/exact_match": before,
        "test/exact_match": after,
        "test/exact_match_low": after - 0.05,
        "test/exact_match_high": min(1.0, after + 0.05),
        "draw/test/loss": losses[0],
        "test/loss": losses[-1],
        "validation/loss": min(losses),
    }
    rng = np.random.default_rng(len(prior))
    draw, tuned = ({"soft": rng.normal(size=(2, 4)).astype(np.float32)} for _ in range(2))
    return Member(
        prior=prior,
        seed=3,
        lr=0.01,
        prompt=f"t-{prior}-3@1",
        status="finished",
        metrics=metrics,
        curve=Curve(steps=np.array(STEPS[: len(losses)]), losses=np.array(losses, np.float64)),
        draw=draw,
        posterior=tuned,
        distances_by_tensor={"soft": Distances(moved=0.5, draw_to_token=0.25, to_token=0.75)},
    )


def outcome(**changes: object) -> Outcome:
    members = tuple(member(prior, losses=losses, after=after) for prior, (losses, after) in LOSSES.items())
    return Outcome(**{"job": job(), "run_id": "run-1", "seconds": 2.5, "members": members, **changes})  # type: ignore[arg-type]
