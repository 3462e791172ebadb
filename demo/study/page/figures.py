"""The figures of a page, drawn from the report and the record of a study."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from promptatlas.types import Report

from demo.study.record import Record
from demo.tour.report.picture import COLOURS

Interval = Mapping[str, Any]
Drawn = Callable[[Report, Record], Figure | None]

DPI: Final = 110


def save_figures(report: Report, *, record: Record, folder: Path) -> list[Path]:
    """Write a PNG for each figure that there are numbers for; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in FIGURES.items():
        figure = draw(report, record)
        if figure is not None:
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=DPI)
            paths.append(path)
    return paths


def _numbers(report: Report, number: int) -> Mapping[str, Any]:
    return next((finding.numbers for finding in report.findings if finding.number == number), {})


def _displacement(report: Report, _record: Record) -> Figure | None:
    tables = {
        setting: columns["own_draw_is_nearest"]
        for setting, columns in _numbers(report, 1).get("by_prior", {}).items()
        if "own_draw_is_nearest" in columns
    }
    return _by_prior(tables, x="share of vectors whose own draw is the nearest draw")


def _quality(report: Report, _record: Record) -> Figure | None:
    tables = {name: group["by_prior"] for name, group in _numbers(report, 2).get("groups", {}).items()}
    return _by_prior(tables, x="test score")


def _collapse(report: Report, _record: Record) -> Figure | None:
    tables = {
        setting: columns["nearest_cosine"]
        for setting, columns in _numbers(report, 3).get("by_prior", {}).items()
        if "nearest_cosine" in columns
    }
    return _by_prior(tables, x="cosine to the nearest token or state")


def _trajectories(report: Report, _record: Record) -> Figure | None:
    lines: dict[str, dict[int, Interval]] = {}
    for row in report.trajectories:
        if row["null"] == "dataset" and (ratio := row["radius_of_gyration"]["ratio"]) is not None:
            lines.setdefault(row["dataset"], {})[int(row["layer"])] = ratio
    return _by_layer(lines, y="radius of gyration / random walk")


def _tasks(report: Report, _record: Record) -> Figure | None:
    lines: dict[str, dict[int, Interval]] = {}
    for row in report.separation:
        if row.measure == "silhouette" and row.per == "text":
            pair = " | ".join((row.model_extra or {}).get("pair", ()))
            lines.setdefault(pair, {})[row.layer] = {"value": row.value, "low": row.low, "high": row.high}
    return _by_layer(lines, y="silhouette of the texts' mean states")


def _shape(report: Report, _record: Record) -> Figure | None:
    lines: dict[str, dict[int, Interval]] = {}
    for row in report.shape:
        lines.setdefault(row["dataset"], {})[int(row["layer"])] = row["mixture_gain"]
    return _by_layer(lines, y="log-likelihood gain of a mixture, nats per point")


def _movement(_report: Report, record: Record) -> Figure | None:
    rows = [row for row in record.reasons.get("movement", ()) if row["prior"] == "isotropic" and row["points"]]
    if not rows:
        return None
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for label, colour, row in _labelled(rows):
        steps = [point["step"] for point in row["points"]]
        axes.plot(steps, [point["moved"] for point in row["points"]], color=colour, label=label)
        axes.plot(steps, [point["bound"] for point in row["points"]], color=colour, linestyle=":", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("distance from the draw (dotted: the bound)")
    axes.legend(fontsize=7)
    return figure


def _labelled(rows: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    """One row per run and rate, with its label and colour."""
    first = {(row["run"], row["lr"]): row for row in reversed(rows)}
    for i, ((run, rate), row) in enumerate(sorted(first.items())):
        yield f"{run}, {rate:g}", COLOURS[i % len(COLOURS)], row


def _fits(_report: Report, record: Record) -> Figure | None:
    rows = [row for row in record.reasons.get("fits", ()) if row["log_density"] is not None]
    if not rows:
        return None
    layers = sorted({row["layer"] for row in rows})
    figure = Figure(figsize=(5 * len(layers), 4), layout="constrained")
    for axes, layer in zip(np.atleast_1d(figure.subplots(1, len(layers))), layers, strict=True):
        for kind in dict.fromkeys(row["shrinkage"] for row in rows):
            points = [
                (row["n"], row["log_density"]) for row in rows if (row["layer"], row["shrinkage"]) == (layer, kind)
            ]
            axes.plot(*zip(*points, strict=True), marker="o", label=kind) if points else None
        axes.set_xscale("log")
        axes.set_xlabel("tokens of the fit")
        axes.set_ylabel("log-density of held-out tokens, nats per dimension")
        axes.set_title(f"layer {layer}")
        axes.legend(fontsize=7)
    return figure


def _by_prior(tables: Mapping[str, Mapping[str, Interval]], *, x: str) -> Figure | None:
    """One panel per setting: a point with its interval for each prior."""
    if not tables:
        return None
    n_rows = sum(len(table) for table in tables.values())
    figure = Figure(figsize=(8, 1.0 + 0.45 * len(tables) + 0.24 * n_rows), layout="constrained")
    heights = [len(table) + 1 for table in tables.values()]
    panels = np.atleast_1d(figure.subplots(len(tables), 1, sharex=True, height_ratios=heights))
    for axes, (setting, table) in zip(panels, tables.items(), strict=True):
        _draw_intervals(axes, table)
        axes.set_title(setting, fontsize=9, loc="left")
    panels[-1].set_xlabel(x)
    return figure


def _draw_intervals(axes: Axes, table: Mapping[str, Interval]) -> None:
    known = {label: found for label, found in table.items() if found.get("value") is not None}
    for row, found in enumerate(known.values()):
        axes.plot([found["low"], found["high"]], [row, row], color=COLOURS[5], linewidth=2)
        axes.plot([found["value"]], [row], "o", color=COLOURS[5], markersize=4)
    axes.set_yticks(range(len(known)), list(known), fontsize=7)
    axes.set_ylim(len(known) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.3)


def _by_layer(lines: Mapping[str, Mapping[int, Interval]], *, y: str) -> Figure | None:
    """One line per label over the layers, with its interval."""
    if not lines:
        return None
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for i, (label, found) in enumerate(lines.items()):
        layers = sorted(found)
        colour, style = COLOURS[i % len(COLOURS)], ("-", "--")[i // len(COLOURS) % 2]
        axes.plot(layers, [found[layer]["value"] for layer in layers], color=colour, linestyle=style, label=label)
        low, high = ([found[layer][bound] for layer in layers] for bound in ("low", "high"))
        if None not in [*low, *high]:
            axes.fill_between(layers, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("layer")
    axes.set_ylabel(y)
    axes.legend(fontsize=7)
    return figure


FIGURES: Final[Mapping[str, Drawn]] = {
    "displacement": _displacement,
    "quality": _quality,
    "collapse": _collapse,
    "trajectories": _trajectories,
    "tasks": _tasks,
    "shape": _shape,
    "movement": _movement,
    "fits": _fits,
}
"""The function that draws each figure; None if the numbers are missing."""
