"""Least-recently-used cache of bases."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from service.projection.bases import Basis

MAX_KEPT_BYTES = 256 << 20

Key = tuple[str, int]
"""Id of a map and one of its layers; the basis of a key never changes."""


class BasisCache:
    """Thread-safe cache with a limit in bytes.

    Args:
        load: reads a basis; its exceptions pass through, and nothing is cached.
    """

    def __init__(self, load: Callable[[Key], Basis], *, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._load = load
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Key, Basis] = OrderedDict()
        self._lock = threading.Lock()
        self.n_bytes = 0

    def get(self, key: Key) -> Basis:
        """The basis of a map's layer."""
        with self._lock:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return found
        loaded = self._load(key)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = loaded
                self.n_bytes += _n_bytes(loaded)
            while self.n_bytes > self._max_bytes and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                self.n_bytes -= _n_bytes(oldest)
        return loaded


def _n_bytes(basis: Basis) -> int:
    return sum(values.nbytes for values in basis.tensors().values())
