"""Metrics of a run: every value that it reported, by step and member."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from promptatlas.results.optional import import_optional
from promptatlas.results.runs.curve_plots import Backend, Steps, Values, draw
from promptatlas.types import MetricPoint

if TYPE_CHECKING:
    import pandas

_NO_METRICS = ("object", "step", "member")


class Curves(Sequence[MetricPoint]):
    """The points of a run, in order. A member is one of the prompts that train in parallel; None is the run itself."""

    def __init__(self, points: Sequence[MetricPoint]) -> None:
        self._points = list(points)

    @property
    def names(self) -> list[str]:
        """Names of the metrics, in order of appearance, e.g. ``loss``."""
        return list(dict.fromkeys(name for point in self._points for name in metrics_of(point)))

    @property
    def members(self) -> list[str | None]:
        """Members in order of appearance."""
        return list(dict.fromkeys(point.member for point in self._points))

    def curve(self, name: str, *, member: str | None = None) -> tuple[Steps, Values]:
        """Steps ``[n]`` and values ``[n]`` of one metric of one member; a value that is not finite is NaN.

        Raises:
            KeyError: there is no such curve; the message lists the existing ones.
        """
        found = [(point.step, metrics_of(point)[name]) for point in self._of(member) if name in metrics_of(point)]
        if not found:
            raise KeyError(f"no {name!r} of member {member!r}; there are {self.names} of {self.members}")
        steps, values = zip(*found, strict=True)
        return np.array(steps, np.int64), np.array(values, np.float64)

    def curves(self, name: str) -> dict[str, tuple[Steps, Values]]:
        """Curves of all members that have this metric; the key of the run's own is ``run``."""
        having = dict.fromkeys(point.member for point in self._points if name in metrics_of(point))
        return {"run" if member is None else member: self.curve(name, member=member) for member in having}

    def pandas(self) -> pandas.DataFrame:
        """One row a point: ``step``, ``member``, and each metric under its name. Requires pandas."""
        pd = import_optional("pandas", extra="pandas")
        rows = [{"step": point.step, "member": point.member, **metrics_of(point)} for point in self._points]
        frame: pandas.DataFrame = pd.DataFrame(rows, columns=["step", "member", *self.names])
        return frame

    def plot(self, name: str = "loss", *, backend: Backend | None = None, title: str | None = None) -> Any:
        """Plots one metric of all members over the steps.

        Args:
            backend: ``matplotlib`` or ``plotly``; None: the installed one, matplotlib if both are.

        Returns:
            matplotlib's Axes, or plotly's Figure.

        Raises:
            KeyError: no member has this metric.
            ImportError: the backend is not installed.
        """
        curves = self.curves(name)
        if not curves:
            raise KeyError(f"no {name!r} in this run; there are {self.names or 'no metrics yet'}")
        return draw(curves, name=name, title=title, backend=backend)

    def __len__(self) -> int:
        return len(self._points)

    def __iter__(self) -> Iterator[MetricPoint]:
        return iter(self._points)

    @overload
    def __getitem__(self, index: int) -> MetricPoint: ...
    @overload
    def __getitem__(self, index: slice) -> list[MetricPoint]: ...
    def __getitem__(self, index: int | slice) -> MetricPoint | list[MetricPoint]:
        return self._points[index]

    def __repr__(self) -> str:
        return f"Curves(n_points={len(self)}, names={self.names}, n_members={len(self.members)})"

    def _of(self, member: str | None) -> Iterator[MetricPoint]:
        return (point for point in self._points if point.member == member)


def metrics_of(point: MetricPoint) -> dict[str, float]:
    """The metrics of a point by name. null becomes NaN, which JSON cannot represent."""
    extra = (point.model_extra or {}).items()
    return {
        name: float("nan") if value is None else float(value)
        for name, value in extra
        if name not in _NO_METRICS and (value is None or isinstance(value, (int, float)))
    }
