"""RMS norms with a hand-written backward pass: a third of the memory passes, and only the input is saved.

transformers writes a norm as six operations, and autograd differentiates each. A norm is replaced only if its weight is
float32 or bfloat16 and probes give the same values and gradients, and the replacement runs only if the input requires
gradients. Sums and factors are float32; a bfloat16 result is rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from service.engine.shapes import Tensor

N_PROBES = 3
# Of a row's norm. transformers rounds bfloat16 values two or three times, each time by 2^-9 at most.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3 * 2.0**-9}


def freeze_rms_norms(model: nn.Module) -> int:
    """Replace the backward pass of the RMS norms of ``model``, whose weights must not change afterwards.

    Returns:
        Number of replaced norms, those of an earlier call included.
    """
    n_replaced = 0
    for module in model.modules():
        if not type(module).__name__.endswith("RMSNorm"):
            continue
        is_replaced = isinstance(module.__dict__.get("forward"), FrozenRMSNorm)
        if not is_replaced and (replacement := _replacement(module)) is not None:
            module.forward = replacement
            is_replaced = True
        n_replaced += is_replaced
    return n_replaced


class FrozenRMSNorm:
    """Forward of one norm. ``scale``: the float32 factor of the normalised values. ``dtype``: of the inputs it is meant for."""

    def __init__(self, plain: Callable[[Tensor], Tensor], *, scale: Tensor, eps: float, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._plain = plain
        self._scale = scale
        self._eps = eps

    def __call__(self, hidden_states: Tensor) -> Tensor:
        if hidden_states.requires_grad and torch.is_grad_enabled() and hidden_states.dtype == self.dtype:
            return self.differentiable(hidden_states)
        return self._plain(hidden_states)

    def differentiable(self, hidden_states: Tensor) -> Tensor:
        """The norm with the hand-written backward pass, whether or not gradients are required."""
        out: Tensor = _RMSNorm.apply(hidden_states, self._scale, self._eps)  # type: ignore[no-untyped-call]
        return out


class _RMSNorm(torch.autograd.Function):
    """y = s·x·r with r = (mean x² + eps)^−½, along the last axis; s has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, eps: float) -> Tensor:
        rate = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        rate = rate.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, rate, scale)
        out: Tensor = x * rate  # float32
        return out.mul_(scale).to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # dx = r·(s·g) − x·r³/d·⟨s·g, x⟩
        x, rate, scale = ctx.saved_tensors
        scaled = gradient * scale  # float32
        inputs = x.float()
        along = torch.linalg.vecdot(scaled, inputs).unsqueeze(-1).mul_(rate.pow(3)).div_(-x.shape[-1])
        return scaled.mul_(rate).addcmul_(inputs, along).to(x.dtype), None, None


def _replacement(module: nn.Module) -> FrozenRMSNorm | None:
    """Replacement of the norm, if the factor is its weight or 1 + its weight; None otherwise."""
    weight = getattr(module, "weight", None)
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not isinstance(weight, Tensor) or not isinstance(eps, float):
        return None
    if weight.dtype not in TOLERANCE or weight.requires_grad or weight.dim() != 1:
        return None
    with torch.no_grad():
        scale = weight.detach().float()
    candidates = (
        FrozenRMSNorm(module.forward, scale=factor, eps=eps, dtype=weight.dtype) for factor in (scale, scale + 1)
    )
    return next((norm for norm in candidates if _is_same(module.forward, norm, like=weight)), None)


def _is_same(plain: Callable[[Tensor], Tensor], replacement: FrozenRMSNorm, *, like: Tensor) -> bool:
    """Whether values and gradients agree on random rows of several magnitudes."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([1.0, 1e3, 1e-4])[:, None]
    x, gradient = (torch.randn(N_PROBES, len(like), generator=generator) for _ in range(2))
    x, gradient = (part.to(device=like.device, dtype=like.dtype) for part in (x * sizes, gradient))
    x.requires_grad_()
    with torch.enable_grad():
        outputs = [norm(x) for norm in (plain, replacement.differentiable)]
        input_gradients = [torch.autograd.grad(output, x, gradient)[0] for output in outputs]
    return _is_close(*outputs) and _is_close(*input_gradients)


def _is_close(got: Tensor, expected: Tensor) -> bool:
    if got.dtype != expected.dtype:
        return False
    distance = torch.linalg.vector_norm(got.float() - expected.float(), dim=-1)
    size = torch.linalg.vector_norm(expected.float(), dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
    return bool((distance < TOLERANCE[expected.dtype] * size).all())
