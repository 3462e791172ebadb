"""How far vectors move, by steps and learning rate: AdamW bounds the distance, so that it can keep vectors near their draw."""

import json
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from promptatlas import Client, Run
from safetensors.numpy import load

from demo.study.record import Record
from workers.reports.evidence.evidence import prior_label

Array = npt.NDArray[np.float32]

RUNS: Final = ("pilot-soft-arithmetic", "pilot-soft-squad", "soft-arithmetic", "soft-arithmetic-longer")
TENSOR: Final = "soft"


def measure_movement(client: Client, *, record: Record) -> list[dict[str, Any]]:
    """For each prompt of the runs: its run, prior, seed, rate and steps, and at each snapshot the distance from the draw.

    ``bound`` is what AdamW with a linear schedule allows: a coordinate moves by about the learning rate in a step.
    ``between_draws`` is the mean distance of two vectors of the draw.
    """
    return [
        row
        for name in RUNS
        if name in record.runs
        for row in _rows(client.runs.get(record.runs[name].run_id), name=name)
    ]


def bound(step: int, *, steps: int, rate: float, d_model: int) -> float:
    """Distance of ``step`` updates of size ``rate`` per coordinate, decreasing linearly to 0 after ``steps``."""
    n = min(step, steps)
    return float(rate * np.sqrt(d_model) * sum(1 - i / steps for i in range(n)))


def _rows(run: Run, *, name: str) -> Iterable[dict[str, Any]]:
    steps = int(run.spec["optimizer"]["steps"])
    for member in json.loads(run.read("members.json")):
        ref, rate = member["prompt"], float(member["lr"])
        draw = load(run.read(f"draws/{ref}.safetensors"))[TENSOR]
        kept = load(run.read(f"snapshots/{ref}.safetensors"))
        points = [
            {
                "step": int(step),
                "moved": _mean_distance(draw, vectors),
                "bound": bound(int(step), steps=steps, rate=rate, d_model=draw.shape[1]),
            }
            for step, vectors in zip(kept["steps"], kept[TENSOR], strict=True)
        ]
        yield {
            "run": name,
            "prior": prior_label(member["prior"]),
            "seed": member["seed"],
            "lr": rate,
            "steps": steps,
            "points": points,
            "between_draws": _between(draw),
        }


def _mean_distance(first: Array, second: Array) -> float:
    return float(np.linalg.norm(first.astype(np.float64) - second, axis=1).mean())


def _between(vectors: Array) -> float:
    """Mean distance of two different vectors; 0 for one vector."""
    n = len(vectors)
    if n < 2:
        return 0.0
    distances = np.linalg.norm(vectors[:, None].astype(np.float64) - vectors[None], axis=-1)
    return float(distances.sum() / (n * (n - 1)))
