"""Comparison of greedy tokens in bfloat16 with what the float32 model says after the same tokens.

One token that differs changes all later ones, so texts of two sides are not compared with each other. Each token of a side
is compared with the logits of the float32 model after the tokens before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring.contest import Agreement
from benchmarks.measuring.rounding import FACTOR

SIGMAS = 4.0
"""Of the difference of two counts of rare events, whose variance is about their sum."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Tokens of a text, the vectors of its soft prompt if there is one, and what a side generated after it."""

    ids: tuple[int, ...]
    new: tuple[int, ...]
    vectors: Tensor | None = None


def greedy_within_rounding(
    label: str, rows: Sequence[Row], *, plain: Any, exact: Any, n_new: int, of_rounding: bool = True
) -> list[Agreement]:
    """Whether tokens are those of the model up to rounding.

    - A token is another one than the first choice of the float32 model only if both logits are within their errors, which are
      at most ``FACTOR`` times the largest error of plain bfloat16.
    - The number of such tokens is that of plain bfloat16 after the same tokens, within ``SIGMAS`` standard deviations.

    Args:
        plain, exact: the model of transformers in bfloat16 and in float32.
        of_rounding: False: differences are only reported, for sides with other weights or roundings.
    """
    gaps, n_ours, n_theirs, largest, n_tokens = [0.0], 0, 0, 0.0, 0
    for row in rows:
        right, near = (_logits(module, row) for module in (exact, plain))
        chosen = right[torch.arange(len(right)), torch.tensor(row.new)]
        gaps.append(float((right.amax(-1) - chosen).max()))
        best = right.argmax(-1)
        n_ours += int((torch.tensor(row.new) != best).sum())
        n_theirs += int((near.argmax(-1) != best).sum())
        largest = max(largest, float((near - right).abs().max()))
        n_tokens += len(row.new)
    is_complete = bool(rows) and all(len(row.new) == n_new for row in rows)
    close = max(gaps) <= 2 * FACTOR * largest
    few = n_ours - n_theirs <= SIGMAS * math.sqrt(n_ours + n_theirs)
    return [
        Agreement(
            label=f"{label}, tokens",
            holds=is_complete and ((close and few) or not of_rounding),
            detail=(
                f"{n_ours} of {n_tokens:,} are not the first choice of the float32 model, {n_theirs} of plain bfloat16's; "
                f"at most {max(gaps):.2g} nats below it, where logits of plain bfloat16 are up to {largest:.2g} apart"
            ),
        )
    ]


@torch.inference_mode()
def _logits(module: Any, row: Row) -> Tensor:
    """`[n_new, n_vocab]`, float32: logits before each new token."""
    text = module.get_input_embeddings()(torch.tensor(row.ids + row.new[:-1]))
    vectors = text if row.vectors is None else torch.cat([row.vectors.to(text.dtype), text])
    logits: Tensor = module(inputs_embeds=vectors[None], logits_to_keep=len(row.new), use_cache=False).logits[0]
    return logits.float()
