"""Cross-entropy over large vocabularies: float32 sums without a float32 copy of all logits.

A vocabulary of 49,152 tokens makes 190 KiB of float32 for each answer token, and torch keeps three such tensors: the logits,
their log-softmax and its gradient. Here some rows at a time are converted, and only the gradient is kept, in the dtype of
the logits, to which it is rounded in any case.
"""

from __future__ import annotations

from typing import Any

import torch

from service.engine.shapes import Float, Int, Tensor

# Logits converted at once: 8 MiB of float32. Not tuned for speed.
MAX_VALUES = 1 << 21


def cross_entropy(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """−log softmax(logits)[target] of each row, in nats, float32."""
    losses: Tensor = _CrossEntropy.apply(logits, targets)  # type: ignore[no-untyped-call]
    return losses


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        losses = logits.new_empty(len(logits), dtype=torch.float32)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        size = max(1, MAX_VALUES // max(1, logits.shape[1]))
        for start in range(0, len(logits), size):
            at = slice(start, start + size)
            here = targets[at, None]
            log_probabilities = torch.log_softmax(logits[at].float(), -1)
            losses[at] = -log_probabilities.gather(1, here).squeeze(1)
            if gradient is not None:
                probabilities = log_probabilities.exp_()
                gradient[at] = probabilities.scatter_add_(1, here, probabilities.new_full(here.shape, -1.0))
        ctx.gradient = gradient
        return losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_losses: Tensor) -> tuple[Tensor, None]:
        gradient: Tensor = ctx.gradient
        # A training step sums the losses: then each factor is 1.
        if bool((by_losses != 1).any()):
            gradient = (gradient * by_losses[:, None]).to(gradient.dtype)
        return gradient, None
