"""Plots of curves, with matplotlib or plotly."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Steps = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Backend = Literal["matplotlib", "plotly"]
_BACKENDS: tuple[Backend, ...] = ("matplotlib", "plotly")


def draw(curves: Mapping[str, tuple[Steps, Values]], *, name: str, title: str | None, backend: Backend | None) -> Any:
    """Plots curves over the steps, one line a member; see Curves.plot."""
    chosen = _backend(backend)
    return (_with_matplotlib if chosen == "matplotlib" else _with_plotly)(curves, name, title)


def _backend(wanted: Backend | None) -> Backend:
    if wanted is not None and wanted not in _BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(_BACKENDS)}, got {wanted!r}")
    for backend in _BACKENDS if wanted is None else (wanted,):
        if importlib.util.find_spec(backend) is not None:
            return backend
    raise ImportError(f"expected {wanted or ' or '.join(_BACKENDS)} to be installed, for plots")


def _with_matplotlib(curves: Mapping[str, tuple[Steps, Values]], name: str, title: str | None) -> Any:
    from matplotlib import pyplot

    _, axes = pyplot.subplots()
    for member, (steps, values) in curves.items():
        axes.plot(steps, values, label=member)
    axes.set(xlabel="step", ylabel=name, title=title or "")
    if len(curves) > 1:
        axes.legend(fontsize="small")
    return axes


def _with_plotly(curves: Mapping[str, tuple[Steps, Values]], name: str, title: str | None) -> Any:
    from plotly import graph_objects

    lines = [
        graph_objects.Scatter(x=steps, y=values, name=member, mode="lines")
        for member, (steps, values) in curves.items()
    ]
    figure = graph_objects.Figure(lines)
    figure.update_layout(xaxis_title="step", yaxis_title=name, title=title)
    return figure
