"""Linear layers on the CPU with their weights packed once for oneDNN.

A plain float32 ``F.linear`` lays the weight out anew at every call. With few rows, which is what a decode step has, that
costs as much as the product itself; with the thousand rows of a tuning step still a twelfth. The packed copy is another
layout of the same numbers; sums differ by rounding only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from service.engine.shapes import Tensor

DEFAULT_PACKED_BYTES = 4 << 30
# The layout is chosen for about this many rows; measured from 1 to 2,048 rows, it is never far from the best.
ROWS_HINT = 32


def pack_linears(model: nn.Module, *, max_bytes: int = DEFAULT_PACKED_BYTES) -> int:
    """Give the float32 CPU ``nn.Linear`` modules of ``model`` a packed weight, while the copies fit ``max_bytes``.

    The weights must not change afterwards. Returns the bytes that the copies take.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return 0
    taken = 0
    for module in model.modules():
        if type(module) is not nn.Linear or not _is_packable(module.weight):
            continue
        n_bytes = _n_bytes(module.weight)
        if taken + n_bytes <= max_bytes:
            module.forward = PackedLinear(module.weight, module.bias)  # type: ignore[method-assign]
            taken += n_bytes
    return taken


def pack_gradients(model: nn.Module, *, max_bytes: int) -> int:
    """Pack the weights the other way round too, for gradients, where ``pack_linears`` has packed them and they still fit.

    Returns the bytes that these copies take, those of an earlier call included.
    """
    taken = 0
    for module in model.modules():
        packed = module.__dict__.get("forward")
        if isinstance(packed, PackedLinear):
            n_bytes = _n_bytes(packed.weight)
            if packed.transposed is None and taken + n_bytes <= max_bytes:
                packed.transposed = _packed(packed.weight.detach().t().contiguous())
            taken += n_bytes if packed.transposed is not None else 0
    return taken


class PackedLinear:
    """The forward of one linear layer. ``transposed``: its weight packed for the way back; None: as it is."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight
        self.bias = bias
        self.packed = _packed(weight.detach())
        self.transposed: Tensor | None = None

    def __call__(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name for it)
        if input.numel() == 0:
            return torch.nn.functional.linear(input, self.weight, self.bias)
        if input.requires_grad and torch.is_grad_enabled():
            out: Tensor = _FrozenProduct.apply(input, self)  # type: ignore[no-untyped-call]
            return out
        return _product(input, self.packed, self.bias)


class _FrozenProduct(torch.autograd.Function):
    """Input times a weight that has no gradient: nothing is kept for the way back."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, linear: PackedLinear) -> Tensor:  # noqa: A002
        ctx.linear = linear
        return _product(input, linear.packed, linear.bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        linear: PackedLinear = ctx.linear
        if linear.transposed is not None:
            return _product(gradient, linear.transposed, None), None
        return gradient @ linear.weight, None


def _packed(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS_HINT)
    return packed


def _product(rows: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return out


def _n_bytes(weight: Tensor) -> int:
    return weight.numel() * weight.element_size()


def _is_packable(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and not weight.requires_grad
