"""Linear layers on the CPU with weights packed once for oneDNN.

A plain ``F.linear`` reorders the weight at every call. In float32 with the few rows of a decode step, this costs as much as
the product itself; with the thousand rows of a tuning step, a twelfth of it. In bfloat16 it costs a quarter and a
twentieth. The packed copy is another layout of the same numbers; sums differ by rounding only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from service.engine.model.layers.cpu import has_fast_bfloat16
from service.engine.shapes import Tensor

DEFAULT_PACKED_BYTES = 4 << 30
# oneDNN chooses the layout for about this many rows. Measured from 1 to 2,048 rows, it is close to the best one.
ROWS_HINT = 32


def pack_linears(model: nn.Module, *, max_bytes: int = DEFAULT_PACKED_BYTES) -> int:
    """Pack the weights of the ``nn.Linear`` modules on the CPU, while the copies fit ``max_bytes``.

    float32 weights are packed, and bfloat16 weights if the CPU has instructions for them.

    The weights must not change afterwards.

    Returns:
        Size of the copies in bytes.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return 0
    n_packed_bytes = 0
    for module in model.modules():
        if type(module) is not nn.Linear or not _is_packable(module.weight):
            continue
        n_bytes = _n_bytes(module.weight)
        if n_packed_bytes + n_bytes <= max_bytes:
            module.forward = PackedLinear(module.weight, module.bias)  # type: ignore[method-assign]
            n_packed_bytes += n_bytes
    return n_packed_bytes


def pack_gradients(model: nn.Module, *, max_bytes: int) -> int:
    """Pack the transposed weights for the backward pass, of the modules that ``pack_linears`` has packed, while they fit.

    Returns:
        Size of the transposed copies in bytes, those of an earlier call included.
    """
    n_packed_bytes = 0
    for module in model.modules():
        packed = module.__dict__.get("forward")
        if isinstance(packed, PackedLinear):
            n_bytes = _n_bytes(packed.weight)
            if packed.transposed is None and n_packed_bytes + n_bytes <= max_bytes:
                packed.transposed = _packed(packed.weight.detach().t().contiguous())
            n_packed_bytes += n_bytes if packed.transposed is not None else 0
    return n_packed_bytes


class PackedLinear:
    """Forward of one linear layer. ``transposed``: its weight packed for the backward pass; None: the plain weight is used."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight
        self.bias = bias
        self.packed = _packed(weight.detach())
        self.transposed: Tensor | None = None

    def __call__(self, input: Tensor) -> Tensor:  # noqa: A002 (as torch names it)
        if input.numel() == 0:
            return torch.nn.functional.linear(input, self.weight, self.bias)
        if input.requires_grad and torch.is_grad_enabled():
            out: Tensor = _FrozenProduct.apply(input, self)  # type: ignore[no-untyped-call]
            return out
        return _product(input, self.packed, self.bias)


class _FrozenProduct(torch.autograd.Function):
    """Product with a frozen weight: nothing is saved for the backward pass."""

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
    is_fast = weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and has_fast_bfloat16())
    return weight.device.type == "cpu" and is_fast and not weight.requires_grad
