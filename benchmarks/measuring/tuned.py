"""Comparison of two trainings: the loss of each step, and the final vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.measuring.contest import Agreement
from benchmarks.sides.tuning import Tuned

LOSS_TOLERANCE, VECTOR_TOLERANCE = 1e-3, 1e-3


def tuned_alike(label: str, got: Tuned, expected: Tuned) -> list[Agreement]:
    """Losses (nats) and vectors are within a tolerance, and the vectors moved much further than it."""
    vectors, right = _flat(got), _flat(expected)
    loss_apart = float((got.losses - expected.losses).abs().max())
    apart = float((vectors - right).abs().max())
    n = got.losses.numel()
    return [
        Agreement(
            label=f"{label}, losses",
            holds=loss_apart <= LOSS_TOLERANCE,
            detail=f"{n:,} losses near {float(expected.losses.mean()):.3g} nats, at most {loss_apart:.1e} apart",
        ),
        Agreement(
            label=f"{label}, vectors",
            holds=apart <= VECTOR_TOLERANCE,
            detail=f"{right.numel():,} numbers after {len(got.losses)} steps, at most {apart:.1e} apart",
        ),
    ]


def begun_alike(label: str, got: Tuned, expected: Tuned, *, n_steps: int) -> list[Agreement]:
    """Compare only the losses of the first steps, for rates so high that rounding dominates later steps."""
    apart = float((got.losses[:n_steps] - expected.losses[:n_steps]).abs().max())
    detail = f"those of the first {n_steps} steps are at most {apart:.1e} nats apart"
    return [Agreement(label=f"{label}, losses", holds=apart <= LOSS_TOLERANCE, detail=detail)]


def _flat(tuned: Tuned) -> Tensor:
    return torch.cat([tensor.flatten() for tensors in tuned.tensors for _, tensor in sorted(tensors.items())])
