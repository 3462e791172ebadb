"""Choice of the fastest batch size of a side, so that no baseline runs at a bad one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any


def fastest(run: Callable[[int], Any], sizes: Sequence[int], *, clock: Callable[[], float] = time.perf_counter) -> int:
    """The size with the shortest run, the better of two runs each. A single size is not tried."""

    def seconds(size: int) -> float:
        began = clock()
        run(size)
        return clock() - began

    return sizes[0] if len(sizes) == 1 else min(sizes, key=lambda size: min(seconds(size), seconds(size)))
