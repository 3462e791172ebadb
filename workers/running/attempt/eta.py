"""Estimate of the remaining time of a run, from its recent speed."""

from __future__ import annotations

from collections import deque

_WINDOW_S = 60.0
_MIN_APART_S = 0.2


class EtaEstimator:
    """Reported steps of the last minute. Times are seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        self._step = 0

    def note(self, step: int, *, now_s: float) -> None:
        """Record that the run is at ``step``. An earlier step than the last one resets the estimate."""
        if self._marks and step < self._marks[-1][1]:
            self._marks.clear()
        self._step = step
        if not self._marks or now_s - self._marks[-1][0] >= _MIN_APART_S:
            self._marks.append((now_s, step))
        # One mark from before the window is kept, so that a slow run has two to compare.
        while len(self._marks) > 2 and now_s - self._marks[1][0] > _WINDOW_S:
            self._marks.popleft()

    def remaining_s(self, total: int) -> float | None:
        """Estimated seconds until ``total`` steps are done; None while unknown."""
        if len(self._marks) < 2:
            return None
        (first_s, first), (last_s, last) = self._marks[0], self._marks[-1]
        if last <= first:
            return None
        return max(0, total - self._step) * (last_s - first_s) / (last - first)
