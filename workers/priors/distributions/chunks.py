"""Chunks of long tensors, which bound the memory of intermediate results."""

from __future__ import annotations

from collections.abc import Iterator

ROWS = 4096


def chunks(n: int, *, size: int = ROWS) -> Iterator[slice]:
    """Slices of at most ``size`` rows that cover 0 … n − 1 in order."""
    return (slice(begin, min(begin + size, n)) for begin in range(0, n, size))
