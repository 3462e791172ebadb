"""Reservoir sampling: a uniform sample of a stream of rows of unknown length, in bounded memory."""

from __future__ import annotations

import numpy as np
import torch

from service.engine.shapes import Float, Int, Tensor


class Reservoir:
    """Keeps the ``max_rows`` rows with the smallest random numbers, or all rows of a shorter stream.

    Each row of the stream gets one number, so the sample does not depend on how the stream is split into parts.
    """

    def __init__(self, *, max_rows: int, seed: int) -> None:
        self._max_rows = max_rows
        # numpy draws doubles one by one; torch fills a tensor in an order that depends on its length.
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._parts: list[Tensor] = []
        self._numbers: list[Tensor] = []
        self._n_held = 0
        self.n_seen = 0

    def add(self, rows: Float[Tensor, "n d"] | Int[Tensor, "n d"]) -> None:
        """Add the next rows of the stream."""
        self._numbers.append(torch.from_numpy(self._random.random(len(rows))))
        self._parts.append(rows)
        self._n_held += len(rows)
        self.n_seen += len(rows)
        if self._n_held > 2 * self._max_rows:
            self._thin()

    def rows(self) -> Tensor:
        """The kept rows `[min(n_seen, max_rows), d]` in the order of the stream."""
        self._thin()
        return self._parts[0]

    def _thin(self) -> None:
        if not self._parts:
            raise ValueError("expected rows in the reservoir, got nothing")
        rows, numbers = torch.cat(self._parts), torch.cat(self._numbers)
        if len(rows) > self._max_rows:
            # Sorted, so that rows stay in the order of the stream.
            chosen = numbers.topk(self._max_rows, largest=False).indices.sort().values
            rows, numbers = rows[chosen], numbers[chosen]
        self._parts, self._numbers, self._n_held = [rows], [numbers], len(rows)
