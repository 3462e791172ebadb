"""The pictures of the page: accuracy against tokens with the other results, and the map of the prompts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from demo.chains import N_HANDS
from demo.distillation.estimates import mean, right
from demo.distillation.map import VOCABULARY
from demo.distillation.page.cells import Cell, by_step, cells, context, source, students
from demo.distillation.record import Record
from demo.distillation.size import PARTS
from demo.tour.report.picture import COLOURS

DPI: Final = 110
MARKERS: Final[Mapping[str, str]] = {"soft": "o", "deep": "s", "prefix": "^", "steering": "D"}
RESULTS, MAP = "results", "map"


def save_pictures(record: Record, *, folder: Path) -> list[Path]:
    """Write the PNG files that there are numbers for; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {RESULTS: _results(record), **({MAP: _map(record)} if record.spread else {})}
    paths = []
    for name, figure in found.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=DPI)
        paths.append(path)
    return paths


def _results(record: Record) -> Figure:
    figure = Figure(figsize=(12, 9), layout="constrained")
    panels = figure.subplots(2, 2)
    _accuracy_and_tokens(panels[0, 0], record)
    _by_step(panels[0, 1], record)
    _capacity(panels[1, 0], record)
    _probes(panels[1, 1], record)
    return figure


def _accuracy_and_tokens(axes: Axes, record: Record) -> None:
    for part, colour in zip(PARTS, COLOURS, strict=False):
        for i, cell in enumerate(students(record, part)):
            _point(axes, cell, colour=colour, marker=MARKERS[cell.method], label=part if i == 0 else None)
    for what, colour in (("teacher", "black"), ("result at once", "dimgray"), ("be brief", "darkgray")):
        _point(axes, context(record, what), colour=colour, marker="*", label=f"header: {what}", size=11)
    for task, marker in (("direct", "P"), ("steps", "X")):
        gold = source(record, task)
        if gold is not None:
            _point(axes, gold, colour=COLOURS[4], marker=marker, label=f"tuned on correct {task}")
    axes.set_xlabel("generated tokens per answer")
    axes.set_ylabel("accuracy on held-out chains")
    axes.set_title("Accuracy against tokens (circle soft, square deep, triangle prefix, diamond steering)", fontsize=9)
    axes.legend(fontsize=7)


def _point(axes: Axes, cell: Cell, *, colour: str, marker: str, label: str | None, size: int = 5) -> None:
    x, y = cell.length, cell.accuracy
    axes.plot([x.low, x.high], [y.value, y.value], color=colour, linewidth=0.8)
    axes.plot([x.value, x.value], [y.low, y.high], color=colour, linewidth=0.8)
    axes.plot([x.value], [y.value], marker, color=colour, markersize=size, label=label, linestyle="none")


def _by_step(axes: Axes, record: Record) -> None:
    for prior, colour in zip(record.size.priors, COLOURS, strict=False):
        for part, style in zip(PARTS, ("-", "--", ":"), strict=True):
            found = {step: mean(right(own)) for step, own in by_step(record, part, prior).items()}
            if found:
                label = prior if part == PARTS[0] else None
                axes.plot(list(found), [one.value for one in found.values()], style, color=colour, label=label)
                low, high = ([getattr(one, bound) for one in found.values()] for bound in ("low", "high"))
                axes.fill_between(list(found), low, high, color=colour, alpha=0.08, linewidth=0)
    axes.set_xlabel("step")
    axes.set_ylabel("accuracy on held-out chains")
    axes.set_title("Soft students by prior (solid: all steps, dashed: half the tokens, dotted: the answer)", fontsize=9)
    axes.legend(fontsize=7)


def _capacity(axes: Axes, record: Record) -> None:
    found = cells(record, "capacity")
    for i, cell in enumerate(found):
        one = cell.accuracy
        axes.plot([i, i], [one.low, one.high], color=COLOURS[0], linewidth=2)
        axes.plot([i], [one.value], "o", color=COLOURS[0])
    direct = context(record, "result at once").accuracy
    axes.axhline(direct.value, color="dimgray", linestyle="--", label="header: result at once")
    axes.set_xticks(range(len(found)), [cell.what.replace("-", " ") for cell in found], rotation=30, fontsize=7)
    axes.set_ylabel("accuracy on held-out chains")
    axes.set_title("Students of the answer: number of soft vectors, and layer of deep vectors", fontsize=9)
    axes.legend(fontsize=7)


def _probes(axes: Axes, record: Record) -> None:
    names = list(dict.fromkeys(row["variant"] for row in record.probes))
    for name, colour in zip(names, COLOURS, strict=False):
        for n, style in ((1, ":"), (2, "--"), (N_HANDS, "-")):
            rows = [row for row in record.probes if (row["variant"], row["n_hands"]) == (name, n)]
            label = name if n == N_HANDS else None
            axes.plot(
                [row["layer"] for row in rows], [row["accuracy"] for row in rows], style, color=colour, label=label
            )
    axes.set_xlabel("layer")
    axes.set_ylabel("accuracy of linear probes")
    axes.set_title("Before the answer: holder after one (dotted), two (dashed), five hands (solid)", fontsize=9)
    if names:
        axes.legend(fontsize=7)


def _map(record: Record) -> Figure:
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    tokens = np.array(record.spread[VOCABULARY])
    axes.plot(tokens[:, 0], tokens[:, 1], ".", color="lightgray", markersize=3, label="tokens of the vocabulary")
    others = {name: np.array(points) for name, points in record.spread.items() if name != VOCABULARY}
    for i, (name, points) in enumerate(others.items()):
        marker = "x" if name.startswith("tuned") else "o"
        axes.plot(points[:, 0], points[:, 1], marker, color=COLOURS[i % len(COLOURS)], markersize=5, label=name)
    axes.set_xlabel("first principal component of the token embeddings' layer")
    axes.set_ylabel("second principal component")
    axes.legend(fontsize=7)
    return figure
