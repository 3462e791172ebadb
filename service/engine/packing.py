"""Linear layers on the CPU with their weights packed once for oneDNN.

A plain float32 ``F.linear`` lays the weight out anew at every call. With few rows, which is what a decode step has, that
costs as much as the product itself. The packed copy is another layout of the same numbers; sums differ by rounding only.
Gradients take the plain path: tuning goes through the same modules.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 (the name everybody uses)

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
        n_bytes = module.weight.numel() * module.weight.element_size()
        if taken + n_bytes <= max_bytes:
            module.forward = _packed_forward(module)  # type: ignore[assignment]
            taken += n_bytes
    return taken


def _is_packable(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and not weight.requires_grad


def _packed_forward(module: nn.Linear) -> Callable[[Tensor], Tensor]:
    weight, bias = module.weight, module.bias
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS_HINT)
    product = torch.ops.mkldnn._linear_pointwise

    def forward(input: Tensor) -> Tensor:  # noqa: A002 (torch's own name for it)
        if (input.requires_grad and torch.is_grad_enabled()) or input.numel() == 0:
            return F.linear(input, weight, bias)
        out: Tensor = product(input, packed, bias, "none", [], "")
        return out

    return forward
