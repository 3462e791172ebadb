"""The device's own speed: the bytes it reads and the products it computes in a second, both measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

COPIED_BYTES: Final = 1 << 30
PRODUCT: Final = 8192
"""Rows and columns of the products."""

N_TIMES: Final = 10


@dataclass(frozen=True, kw_only=True)
class DeviceSpeed:
    """bandwidth: bytes a second, of a copy, which reads and writes each byte once. flops: of a product of square matrices."""

    bandwidth: float
    flops: float


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_s(run: Callable[[], object], *, device: torch.device, n: int = N_TIMES) -> float:
    """Median duration of ``run``, after one that is not counted."""
    seconds = []
    for _ in range(n + 1):
        synchronize(device)
        began = time.perf_counter()
        run()
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def measure(
    *, device: torch.device, dtype: torch.dtype, copied_bytes: int = COPIED_BYTES, product: int = PRODUCT
) -> DeviceSpeed:
    """Time a copy of ``copied_bytes`` and a product of matrices of ``product`` rows and columns."""
    source = torch.zeros(copied_bytes // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    copy_s = median_s(lambda: target.copy_(source), device=device)
    a, b = (torch.randn(product, product, device=device).to(dtype) for _ in range(2))
    product_s = median_s(lambda: a @ b, device=device)
    return DeviceSpeed(bandwidth=2 * copied_bytes / copy_s, flops=2 * product**3 / product_s)
