"""Comparison of bfloat16 results: the errors of a side against those of plain transformers, both against float32.

Two programs that compute the same function in bfloat16 differ, since sums in another order are rounded differently. Their
errors against the same computation in float32 are alike, because both round nearly the same tensors. A wrong result has an
error of another size. ``FACTOR`` is two bits: the ratio of two root mean squares over eight independent errors is larger
with a probability of about 1e-4 (F distribution).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from benchmarks.measuring.contest import Agreement
from benchmarks.sides.tuning import Tuned

FACTOR: Final = 4.0


def within_rounding(label: str, got: Tensor, *, plain: Tensor, exact: Tensor, unit: str = "") -> Agreement:
    """The root mean square of the errors is at most ``FACTOR`` times that of plain transformers in bfloat16.

    Raises:
        ValueError: the shapes differ.
    """
    if not got.shape == plain.shape == exact.shape:
        raise ValueError(f"expected {tuple(exact.shape)}, got {tuple(got.shape)} and {tuple(plain.shape)}.")
    ours, theirs = (_rms(found.double() - exact.double()) for found in (got, plain))
    return Agreement(
        label=label,
        holds=ours <= FACTOR * theirs,
        detail=f"{exact.numel():,} numbers, error against float32 {ours:.2g}{unit}, of plain bfloat16 {theirs:.2g}{unit}",
    )


def tuned_within_rounding(
    answers: Mapping[str, Tuned], *, plain: str, exact: Tuned, starts: Sequence[Mapping[str, Tensor]]
) -> list[Agreement]:
    """Losses of all steps, and how far the vectors moved, of the prompts that ``exact`` has."""
    n, label = len(exact.tensors), f"{{}} against {plain}"
    size = _rms(_moved(exact, starts))
    # As shares of the change, since the vectors themselves are much larger.
    changes = {name: _moved(tuned, starts) / size for name, tuned in answers.items()}
    found = []
    for name in [name for name in answers if name != plain]:
        losses, right = answers[name].losses[:, :n], answers[plain].losses[:, :n]
        found += [
            within_rounding(f"{label.format(name)}, losses", losses, plain=right, exact=exact.losses, unit=" nats"),
            within_rounding(
                f"{label.format(name)}, changes of vectors",
                changes[name],
                plain=changes[plain],
                exact=_moved(exact, starts) / size,
            ),
        ]
    return found


def _moved(tuned: Tuned, starts: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Of the first ``len(starts)`` prompts."""
    pairs = zip(tuned.tensors, starts, strict=False)
    return torch.cat(
        [(tensors[name].cpu() - start[name]).flatten() for tensors, start in pairs for name in sorted(start)]
    )


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())
