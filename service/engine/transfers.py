"""Copies between the host and the model's device: all tensors of a step in one.

Every copy costs a launch, and a copy to the host also waits until the device has computed everything before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from service.engine.shapes import Tensor


def to_device(device: torch.device, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The host's int64 and float64 tensors on a device, with one copy, for which the host does not wait.

    Raises:
        TypeError: a tensor has another dtype.
    """
    if _is_host(device) or not tensors:
        return list(tensors)
    for tensor in tensors:
        if tensor.dtype.itemsize != torch.int64.itemsize:
            raise TypeError(f"expected int64 or float64 tensors, got {tensor.dtype}.")
    packed = torch.cat([tensor.reshape(-1).view(torch.int64) for tensor in tensors])
    if device.type == "cuda":
        packed = packed.pin_memory()  # memory that is not pinned is copied in the host's time
    return _unpacked(packed.to(device, non_blocking=True), tensors)


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Integer and float32 tensors of one device, on the host, with one copy."""
    if all(_is_host(tensor.device) for tensor in tensors):
        return list(tensors)
    wide = [tensor.double() if tensor.dtype.is_floating_point else tensor.long() for tensor in tensors]
    packed = torch.cat([tensor.reshape(-1).view(torch.int64) for tensor in wide]).cpu()
    return [part.to(like.dtype) for part, like in zip(_unpacked(packed, wide), tensors, strict=True)]


def _is_host(device: torch.device) -> bool:
    return device.type == "cpu"


def _unpacked(packed: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = torch.split(packed, [tensor.numel() for tensor in like])
    return [part.view(tensor.dtype).view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]
