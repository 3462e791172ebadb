"""Figures of a report, as SVG text: no script runs where it is read, and every line stays sharp."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.projection.pca import fit_pca
from workers.reports.evidence import Evidence
from workers.reports.quality import groups_of

MAX_VOCABULARY = 3000
MAX_LINES = 12
# Told apart by most colour-blind readers (Okabe and Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#f0e442")
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "svg.hashsalt": "promptatlas", "svg.fonttype": "none", "axes.titlesize": 10, "legend.frameon": False,
    # Names of priors and datasets are nobody's formulas.
    "text.parse_math": False,
}  # fmt: skip


def draw_figures(
    evidence: Evidence, *, separation: Sequence[Mapping[str, Any]], walks: Sequence[Mapping[str, Any]],
    shapes: Sequence[Mapping[str, Any]],
) -> dict[str, str]:  # fmt: skip
    """SVG by name; a figure whose evidence is missing is left out."""
    with matplotlib.rc_context(STYLE):
        found = {
            "prompts": _prompts(evidence),
            "curves": _curves(evidence),
            "separation": _separation(separation),
            "walks": _walks(walks),
            "shapes": _shapes(shapes),
            "tasks": _tasks(evidence),
        }
        return {name: _svg(figure) for name, figure in found.items() if figure is not None}


def _prompts(evidence: Evidence) -> Figure | None:
    """Draws and posteriors over the vocabulary, on its first two principal components."""
    prompts = [prompt for prompt in evidence.prompts if 0 in prompt.vectors]
    if not prompts:
        return None
    stacked = [
        evidence.vocabulary,
        *(prompt.vectors[0] for prompt in prompts),
        *(p.draw[0] for p in prompts if 0 in p.draw),
    ]
    basis = fit_pca(iter(stacked), n_components=2)
    figure = Figure(figsize=(7.2, 4.6))
    axes = figure.subplots()
    places = basis.place(evidence.vocabulary[:: max(1, len(evidence.vocabulary) // MAX_VOCABULARY)])
    axes.scatter(places[:, 0], places[:, 1], s=5, c="#c8c8c8", label="all tokens", linewidths=0)
    for index, prior in enumerate(dict.fromkeys(prompt.prior for prompt in prompts)):
        colour = COLOURS[index % len(COLOURS)]
        own = [prompt for prompt in prompts if prompt.prior == prior]
        after = basis.place(np.concatenate([prompt.vectors[0] for prompt in own]))
        if all(0 in prompt.draw for prompt in own):
            before = basis.place(np.concatenate([prompt.draw[0] for prompt in own]))
            axes.plot(*np.stack([before, after]).transpose(2, 0, 1), c=colour, lw=0.4, alpha=0.5)
            axes.scatter(before[:, 0], before[:, 1], s=7, facecolors="none", edgecolors=colour, linewidths=0.6)
        axes.scatter(after[:, 0], after[:, 1], s=10, c=colour, label=prior, linewidths=0)
    axes.set(title="Draws (rings) and tuned vectors (dots) among the vocabulary", xlabel="PC 1", ylabel="PC 2")
    axes.legend(fontsize=7, loc="best")
    return figure


def _curves(evidence: Evidence) -> Figure | None:
    groups = {name: [p for p in group if len(p.curve) > 1] for name, group in groups_of(evidence.prompts).items()}
    groups = {name: group for name, group in groups.items() if group}
    if not groups:
        return None
    figure = Figure(figsize=(7.2, 2.9 * len(groups)))
    for axes, (name, group) in zip(figure.subplots(len(groups), squeeze=False)[:, 0], groups.items(), strict=True):
        priors = list(dict.fromkeys(prompt.prior for prompt in group))
        for prompt in group:
            steps, losses = zip(*prompt.curve, strict=True)
            colour = COLOURS[priors.index(prompt.prior) % len(COLOURS)]
            first = prompt is next(other for other in group if other.prior == prompt.prior)
            axes.plot(steps, losses, c=colour, lw=1, label=prompt.prior if first else None)
        axes.set(title=name, xlabel="step", ylabel="validation loss (nats)", yscale="log")
        axes.legend(fontsize=7)
    return figure


def _separation(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    if not rows:
        return None
    figure = Figure(figsize=(7.2, 3.2))
    for axes, measure in zip(figure.subplots(1, 2), ("silhouette", "hdbscan_ari"), strict=True):
        own = [row for row in rows if row["measure"] == measure and row["per"] == "text"]
        _lines(
            axes,
            {" | ".join(row["pair"]): [] for row in own},
            own,
            key=lambda row: " | ".join(row["pair"]),
            value="value",
        )
        axes.set(title=measure.replace("_", " "), xlabel="layer (input of block)")
        axes.axhline(0, c="#999999", lw=0.5)
    figure.axes[0].legend(fontsize=6)
    return figure


def _walks(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    if not rows:
        return None
    figure = Figure(figsize=(7.2, 3.2))
    for axes, measure in zip(figure.subplots(1, 2), ("radius_of_gyration", "step_length"), strict=True):
        flat = [
            {
                "name": f"{row['dataset']} / {row['null']}",
                "layer": row["layer"],
                "value": row[measure]["ratio"]["value"],
            }
            for row in rows
            if row[measure]["ratio"] is not None
        ]
        _lines(axes, {row["name"]: [] for row in flat}, flat, key=lambda row: str(row["name"]), value="value")
        axes.axhline(1, c="#999999", lw=0.5)
        axes.set(title=f"{measure.replace('_', ' ')} / random walk", xlabel="layer (input of block)", ylim=(0, None))
    figure.axes[0].legend(fontsize=6)
    return figure


def _shapes(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    if not rows:
        return None
    figure = Figure(figsize=(7.2, 3.2))
    flat = [
        {
            "dataset": row["dataset"],
            "layer": row["layer"],
            "kurtosis": row["kurtosis"]["value"],
            "dimension": row["intrinsic_dimension"],
        }
        for row in rows
    ]
    for axes, measure, title in zip(
        figure.subplots(1, 2),
        ("kurtosis", "dimension"),
        ("excess kurtosis", "intrinsic dimension (TwoNN)"),
        strict=True,
    ):
        kept = [row for row in flat if row[measure] is not None]
        _lines(axes, {row["dataset"]: [] for row in kept}, kept, key=lambda row: str(row["dataset"]), value=measure)
        axes.set(title=title, xlabel="layer (input of block)")
    figure.axes[0].legend(fontsize=6)
    return figure


def _tasks(evidence: Evidence) -> Figure | None:
    """Means of texts at a low, a middle and the highest layer, each on its own first two principal components."""
    layers = sorted({evidence.layers[0], evidence.layers[len(evidence.layers) // 2], evidence.layers[-1]})
    figure = Figure(figsize=(7.2, 2.7))
    for axes, layer in zip(figure.subplots(1, len(layers), squeeze=False)[0], layers, strict=True):
        basis = fit_pca(iter([clouds[layer].texts for clouds in evidence.clouds.values()]), n_components=2)
        for index, (dataset, clouds) in enumerate(evidence.clouds.items()):
            places = basis.place(clouds[layer].texts)
            axes.scatter(
                places[:, 0], places[:, 1], s=6, c=COLOURS[index % len(COLOURS)], label=dataset, linewidths=0, alpha=0.7
            )
        axes.set(title=f"layer {layer}", xticks=[], yticks=[])
    figure.axes[0].legend(fontsize=6)
    return figure


def _lines(axes: Axes, lines: dict[str, list[Any]], rows: Sequence[Mapping[str, Any]], *, key: Any, value: str) -> None:
    for row in rows:
        lines[key(row)].append((row["layer"], row[value]))
    for index, (name, points) in enumerate(list(lines.items())[:MAX_LINES]):
        layers, values = zip(*sorted(points), strict=True)
        axes.plot(layers, values, marker="o", ms=3, lw=1, c=COLOURS[index % len(COLOURS)], label=name)


def _svg(figure: Figure) -> str:
    figure.tight_layout()
    buffer = io.StringIO()
    # Without a date, so that the same report is the same file.
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
