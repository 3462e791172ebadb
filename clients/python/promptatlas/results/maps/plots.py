"""Plots of points with plotly: categories or a colour scale, lines along groups, a slider over layers."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from promptatlas.results.maps.columns import Column
from promptatlas.results.maps.point_columns import PointColumns
from promptatlas.results.optional import import_optional

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_CATEGORIES = 24
"""Number of categories with a colour of their own; the less frequent ones share one."""

MANY = 5000
"""Number of points from which WebGL is used; a page can hold only a few WebGL plots."""

OTHERS, NONE = "others", "–"
GREY = "rgba(128, 128, 128, 0.55)"
SYMBOLS = {"draw": "circle-open", "posterior": "diamond", "embedding": "square", "placed": "cross"}
MAX_SHOWN = 120

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class _Style:
    """Colours of all points of a plot.

    categories: `[n]`, the index of each point's category, −1 for those without a colour of their own. names, colors: of the
    categories. scale: `[n]` values of a colour scale, used in place of categories.
    """

    categories: npt.NDArray[np.int64]
    names: Sequence[str] = ()
    colors: Sequence[str] = ()
    scale: npt.NDArray[np.float64] | None = None


def draw(
    points: PointColumns,
    *,
    color: str | npt.ArrayLike,
    layer: int | None,
    lines: bool,
    also: PointColumns | None,
    title: str | None,
) -> Figure:
    """Plots points; see Points.plot."""
    graph = import_optional("plotly.graph_objects", extra="plots")
    layers = _layers(points, layer)
    style = _style(points, color)
    figure = graph.Figure()
    counts = []
    for each in layers:
        chosen = np.flatnonzero(points.layer == each)
        traces = list(_traces(points, chosen, style=style, lines=lines))
        if also is not None:
            traces += _overlay(also, layer=each)
        for trace in traces:
            figure.add_trace(_trace(graph, trace, n=len(points), flat=points.z is None, visible=each == layers[0]))
        counts.append(len(traces))
    _lay_out(figure, points, layer=layers[0], title=title, scale=color if style.scale is not None else None)
    if len(layers) > 1:
        figure.update_layout(sliders=[_slider(points, layers, counts)])
    return figure


def _layers(points: PointColumns, layer: int | None) -> list[int]:
    layers: list[int] = np.unique(points.layer).tolist()
    if layer is not None and layer not in layers:
        raise ValueError(f"layer: expected one of {layers}, got {layer}")
    if not layers:
        raise ValueError("expected points to plot, got none")
    return layers if layer is None else [layer]


def _style(points: PointColumns, color: str | npt.ArrayLike) -> _Style:
    values = points.colors(color)
    if values.dtype != object:
        return _Style(categories=np.full(len(values), -1), scale=values)
    from plotly.colors import qualitative

    labels = [NONE if value is None else str(value) for value in values]
    counts = Counter(labels)
    frequent = {name for name, _ in counts.most_common(MAX_CATEGORIES)}
    names = [name for name in counts if name in frequent]
    numbers = {name: number for number, name in enumerate(names)}
    palette = qualitative.D3 if len(names) <= len(qualitative.D3) else qualitative.Dark24
    categories = np.array([numbers.get(label, -1) for label in labels])
    return _Style(categories=categories, names=names, colors=palette[: len(names)])


def _traces(points: PointColumns, chosen: Indices, *, style: _Style, lines: bool) -> Iterator[dict[str, Any]]:
    """Traces of one layer: lines, then the points of each category, or all of them on a colour scale."""
    if lines:
        yield from _lines(points, chosen, style)
    if style.scale is not None:
        numbers = style.scale[chosen]
        known, unknown = chosen[~np.isnan(numbers)], chosen[np.isnan(numbers)]
        if len(unknown):
            yield _markers(points, unknown, name=NONE, color=GREY)
        trace = _markers(points, known, name="", color=style.scale[known])
        trace["marker"]["coloraxis"] = "coloraxis"
        yield {**trace, "showlegend": False}
        return
    for number in (*range(len(style.names)), -1):
        members = chosen[style.categories[chosen] == number]
        if len(members):
            name, color = (OTHERS, GREY) if number < 0 else (style.names[number], style.colors[number])
            yield _markers(points, members, name=name, color=color)


def _markers(points: PointColumns, chosen: Indices, *, name: str, color: Any) -> dict[str, Any]:
    symbols = [SYMBOLS.get(role, "circle") for role in points.role[chosen]]
    marker = {"color": color, "size": 6, "opacity": 0.85, "symbol": symbols if len(set(symbols)) > 1 else symbols[0]}
    return {
        **_coordinates(points.coordinates[chosen]),
        "mode": "markers",
        "name": name,
        "legendgroup": name,
        "marker": marker,
        "hovertext": _hover(points, chosen),
        "hoverinfo": "text",
    }


def _lines(points: PointColumns, chosen: Indices, style: _Style) -> Iterator[dict[str, Any]]:
    """One trace for all groups of a colour. Groups with points of several colours are grey."""
    by_color: dict[int, list[Column]] = {}
    for members in _groups(points.group, chosen):
        numbers = set(style.categories[members].tolist())
        line = points.coordinates[members]
        # A missing coordinate ends the line.
        parts = by_color.setdefault(numbers.pop() if len(numbers) == 1 else -1, [])
        parts += [line, np.full((1, line.shape[1]), np.nan)]
    for number, parts in by_color.items():
        color = GREY if number < 0 else style.colors[number]
        legend = {"legendgroup": None if number < 0 else style.names[number], "showlegend": False, "hoverinfo": "skip"}
        line_style = {"color": color, "width": 1.5}
        yield {**_coordinates(np.concatenate(parts)), "mode": "lines", "line": line_style, "opacity": 0.5, **legend}


def _groups(group: Column, chosen: Indices) -> Iterator[Indices]:
    """Indices of the points of each group, in order; groups of one point are omitted."""
    members: dict[str, list[int]] = {}
    for index in chosen.tolist():
        if group[index] is not None:
            members.setdefault(group[index], []).append(index)
    return (np.array(each) for each in members.values() if len(each) > 1)


def _overlay(also: PointColumns, *, layer: int) -> list[dict[str, Any]]:
    chosen = np.flatnonzero(also.layer == layer)
    traces = []
    for source in dict.fromkeys(also.source[chosen].tolist()):
        trace = _markers(also, chosen[also.source[chosen] == source], name=str(source), color="black")
        trace["marker"] |= {"symbol": "cross", "size": 10, "line": {"color": "white", "width": 1}}
        traces.append(trace)
    return traces


def _coordinates(places: Column) -> dict[str, Column]:
    return dict(zip("xyz", places.T, strict=False))


def _hover(points: PointColumns, chosen: Indices) -> list[str]:
    columns = (points.token, points.text, points.source, points.role, points.position, points.task, points.prompt)
    return [_hover_text(*values) for values in zip(*(column[chosen].tolist() for column in columns), strict=True)]


def _hover_text(
    token: str | None, text: str | None, source: str, role: str, position: float, task: str | None, prompt: str | None
) -> str:
    where = role if position != position else f"{role} {position:.0f}"
    lines = [f"<b>{_escaped(repr(token))}</b>"] if token is not None else []
    lines += [_escaped(text)] if text is not None else []
    facts = (source, where, task, None if prompt is None else f"under {prompt}" if role == "state" else prompt)
    return "<br>".join([*lines, " · ".join(_escaped(fact) for fact in facts if fact is not None)])


def _escaped(text: str) -> str:
    shown = text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
    return html.escape(shown).replace("\n", "<br>")


def _trace(graph: Any, trace: dict[str, Any], *, n: int, flat: bool, visible: bool) -> Any:
    kind = (graph.Scattergl if n >= MANY else graph.Scatter) if flat else graph.Scatter3d
    return kind(**trace, visible=visible)


def _lay_out(figure: Figure, points: PointColumns, *, layer: int, title: str | None, scale: Any) -> None:
    names = points.axis_names(layer)
    axes = {f"{axis}axis": {"title": {"text": name}} for axis, name in names.items()}
    figure.update_layout(title=title, template="plotly_white", legend={"itemsizing": "constant"}, hovermode="closest")
    if "z" in names:
        figure.update_layout(scene={**axes, "aspectmode": "data"})
    else:
        # Equal distances have equal length along both axes.
        axes["yaxis"]["scaleanchor"] = "x"  # type: ignore[assignment]
        figure.update_layout(axes)
    if scale is not None:
        label = scale if isinstance(scale, str) else ""
        figure.update_layout(coloraxis={"colorscale": "Viridis", "colorbar": {"title": {"text": label}}})
        figure.update_layout(legend={"orientation": "h"})


def _slider(points: PointColumns, layers: Sequence[int], counts: Sequence[int]) -> dict[str, Any]:
    """One step a layer, which shows the traces of the layer and sets its axis labels."""
    scene = "scene." if points.z is not None else ""
    steps = []
    for index, layer in enumerate(layers):
        visible = [at == index for at, count in enumerate(counts) for _ in range(count)]
        names = {f"{scene}{axis}axis.title.text": name for axis, name in points.axis_names(layer).items()}
        steps.append({"method": "update", "label": str(layer), "args": [{"visible": visible}, names]})
    return {"steps": steps, "currentvalue": {"prefix": "layer "}, "pad": {"t": 40}}
