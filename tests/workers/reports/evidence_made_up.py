"""Evidence whose findings are known, because it was made so."""

from __future__ import annotations

from typing import Any

import numpy as np

from workers.reports.evidence.evidence import Evidence, Floats, TaskCloud, TextStatistics, Trajectories, TunedPrompt

D, N_VIRTUAL, N_LAYERS = 6, 4, 2
PRIORS = ("near", "far")


def vocabulary() -> Floats:
    return np.random.default_rng(0).normal(size=(80, D)).astype(np.float32)


def tuned(
    prior: str, seed: int, *, moved: float, score: float, steps: int, onto_tokens: bool = False, **changes: Any
) -> TunedPrompt:
    """A prompt that began in its prior's own place, moved so far, and reached a loss of 1 after so many steps."""
    rng = np.random.default_rng([PRIORS.index(prior) if prior in PRIORS else 7, seed])
    place = 3.0 if prior == "far" else 0.5
    draw = (place * rng.normal(size=(N_VIRTUAL, D))).astype(np.float32)
    vectors = (draw + moved * rng.normal(size=draw.shape)).astype(np.float32)
    if onto_tokens:
        vectors = vocabulary()[:N_VIRTUAL] + np.float32(1e-3)
    fields: dict[str, Any] = {
        "ref": f"{prior}-{seed}@1",
        "run_id": "run-1",
        "method": "soft",
        "prior": prior,
        "seed": seed,
        "lr": 0.01,
        "task": "qa",
        "metrics": {"test/exact_match": score, "bare/test/exact_match": 0.0},
        "vectors": {0: vectors},
        "draw": {0: draw},
        "snapshots": {0: np.stack([draw, vectors])},
        "curve": [(0, 5.0), (steps, 1.0), (100, 0.5)],
    }
    return TunedPrompt(**{**fields, **changes})


def evidence(*prompts: TunedPrompt, apart: float = 20.0, local: bool = False) -> Evidence:
    """Two datasets ``apart``, a third beside the first; trajectories that jump, or stay where they are."""
    rng = np.random.default_rng(1)
    shifts = {"language": 0.0, "more language": 0.0, "sums": apart}
    clouds = {
        name: {
            layer: TaskCloud(texts=_cloud(rng, 40, shift=shift), tokens=_cloud(rng, 120, shift=shift))
            for layer in range(N_LAYERS)
        }
        for name, shift in shifts.items()
    }
    trajectories = {layer: [_walk(rng, local=local) for _ in range(20)] for layer in range(N_LAYERS)}
    return Evidence(
        layers=range(N_LAYERS),
        prompts=prompts,
        clouds=clouds,
        vocabulary=vocabulary(),
        tokens=[f"t{i}" for i in range(80)],
        trajectories=[Trajectories(dataset="language", part="generated", by_layer=trajectories)],
        text_statistics={
            "language": TextStatistics(counts=np.array([5, 5, 0]), share_letters=0.9),
            "more language": TextStatistics(counts=np.array([6, 3, 1]), share_letters=0.8),
            "sums": TextStatistics(counts=np.array([0, 0, 9]), share_letters=0.0),
        },
    )


def _cloud(rng: np.random.Generator, n: int, *, shift: float) -> Floats:
    points: Floats = (rng.normal(size=(n, D)) + shift * np.eye(D)[0]).astype(np.float32)
    return points


def _walk(rng: np.random.Generator, *, local: bool) -> Floats:
    points: Floats = ((0.05 if local else 1.0) * rng.normal(size=(12, D))).astype(np.float32)
    return points
