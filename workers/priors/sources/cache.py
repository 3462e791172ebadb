"""LRU cache of tensors and fitted objects, bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from service.engine.shapes import Tensor

Value = TypeVar("Value")


class Cache:
    """A cache that evicts the least recently used values. A value larger than ``max_bytes`` is returned, but not kept."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[object, tuple[Any, int]] = OrderedDict()
        self.n_bytes = 0

    def get(self, key: object, *, make: Callable[[], Value]) -> Value:
        """The value under ``key``; a missing one is created by ``make`` and kept. If ``make`` raises, nothing is kept."""
        if key in self._entries:
            self._entries.move_to_end(key)
            found: Value = self._entries[key][0]
            return found
        value = make()
        size = n_bytes_of(value)
        if size <= self._max_bytes:
            self._entries[key] = (value, size)
            self.n_bytes += size
        while self.n_bytes > self._max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.n_bytes -= freed
        return value


def n_bytes_of(value: object) -> int:
    """Bytes of all tensors in an object, including nested ones."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (list, tuple)):
        return sum(map(n_bytes_of, value))
    if isinstance(value, dict):
        return sum(map(n_bytes_of, value.values()))
    if isinstance(value, nn.Module):
        return sum(map(n_bytes_of, value.parameters()))
    return sum(map(n_bytes_of, vars(value).values())) if hasattr(value, "__dict__") and not callable(value) else 0
