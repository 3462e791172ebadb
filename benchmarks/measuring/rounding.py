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
    """The root mean square of the errors is at most ``FACTOR`` times that of plain transformers in bfloat16."""
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
    n = len(exact.tensors)
    moved = _moved(exact, starts)
    theirs = _moved(answers[plain], starts)
    found = []
    for name in answers:
        if name == plain:
            continue
        losses = (answers[key].losses[:, :n] for key in (name, plain))
        label = f"{name} against {plain}"
        found += [
            within_rounding(f"{label}, losses", next(losses), plain=next(losses), exact=exact.losses, unit=" nats"),
            within_rounding(
                f"{label}, changes of vectors",
                _moved(answers[name], starts) / _rms(moved),
                plain=theirs / _rms(moved),
                exact=moved / _rms(moved),
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
