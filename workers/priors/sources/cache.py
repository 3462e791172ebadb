"""What has been read or fitted, kept while there is room: the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from service.engine.shapes import Tensor

Value = TypeVar("Value")


class Cache:
    """A cache bounded by the bytes of the tensors in it; what is larger than the bound is handed on, but not kept."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[object, tuple[Any, int]] = OrderedDict()
        self.n_bytes = 0

    def get(self, key: object, *, make: Callable[[], Value]) -> Value:
        """The value under ``key``, made now unless it is kept. A failure keeps nothing."""
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
    """Bytes of the tensors that an object holds, itself or in what it is made of."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (list, tuple)):
        return sum(map(n_bytes_of, value))
    if isinstance(value, dict):
        return sum(map(n_bytes_of, value.values()))
    if isinstance(value, nn.Module):
        return sum(map(n_bytes_of, value.parameters()))
    return sum(map(n_bytes_of, vars(value).values())) if hasattr(value, "__dict__") and not callable(value) else 0
