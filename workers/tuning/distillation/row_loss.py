"""Losses of rows of logits, computed for some rows at a time.

A loss over a vocabulary needs several float32 tensors of the size of the logits. Here they exist for some rows at a time, and
only the gradient is kept, in the dtype of the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from service.engine.shapes import Float, Tensor
from workers.tuning.training.cross_entropy import MAX_VALUES

Rows = Callable[[slice, Float[Tensor, "rows vocab"]], Float[Tensor, " rows"]]
"""Losses of the rows in a slice, given their logits in float32; differentiable in the logits."""


def row_losses(logits: Float[Tensor, "n vocab"], losses: Rows) -> Float[Tensor, " n"]:
    """The loss of each row, float32, differentiable in the logits."""
    found: Tensor = _RowLosses.apply(logits, losses)  # type: ignore[no-untyped-call]
    return found


class _RowLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, losses: Rows) -> Tensor:
        found = logits.new_empty(len(logits), dtype=torch.float32)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        size = max(1, MAX_VALUES // max(1, logits.shape[1]))
        for start in range(0, len(logits), size):
            at = slice(start, min(start + size, len(logits)))
            rows = logits[at].detach().float()
            if gradient is None:
                found[at] = losses(at, rows)
                continue
            with torch.enable_grad():
                leaf = rows.requires_grad_()
                values = losses(at, leaf)
                (gradient[at],) = torch.autograd.grad(values.sum(), leaf)
            found[at] = values.detach()
        ctx.gradient = gradient
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_losses: Tensor) -> tuple[Tensor, None]:
        gradient: Tensor = ctx.gradient
        if bool((by_losses != 1).any()):
            gradient = (gradient * by_losses[:, None]).to(gradient.dtype)
        return gradient, None
