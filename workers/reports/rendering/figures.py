"""Figures of a report, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from service.projection.pca import PcaBasis, fit_pca
from workers.reports.evidence.evidence import Evidence, TunedPrompt
from workers.reports.findings.quality import groups_of
from workers.reports.rendering.labels import label

MAX_VOCABULARY = 3000
MAX_LINES = 24
MARKERS, LINE_STYLES = ("o", "s", "^", "D"), ("-", "--", ":", "-.")
# Distinguishable with most colour vision deficiencies (Okabe and Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#f0e442")
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "promptatlas",
    "svg.fonttype": "none",
    "axes.titlesize": 10,
    "legend.frameon": False,
    # Names of priors and datasets may contain dollar signs.
    "text.parse_math": False,
}


@dataclass(frozen=True, kw_only=True)
class SeriesStyle:
    """Colour, marker and line style of one series, the same in all panels of a figure."""

    colour: str
    marker: str
    line: str


def draw_figures(
    evidence: Evidence,
    *,
    separation: Sequence[Mapping[str, Any]],
    trajectories: Sequence[Mapping[str, Any]],
    shapes: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    """SVG by name; figures without evidence are left out."""
    with matplotlib.rc_context(STYLE):
        found = {
            "prompts": _prompts(evidence),
            "curves": _curves(evidence),
            "separation": _separation(separation),
            "trajectories": _trajectories(trajectories),
            "shapes": _shapes(shapes),
            "tasks": _tasks(evidence),
        }
        return {name: _svg(figure) for name, figure in found.items() if figure is not None}


def _prompts(evidence: Evidence) -> Figure | None:
    """Prior draws and posteriors with the vocabulary on two principal components: all points, and a zoom on the vocabulary."""
    prompts = [prompt for prompt in evidence.prompts if 0 in prompt.vectors]
    if not prompts:
        return None
    draws = [prompt.draw[0] for prompt in prompts if 0 in prompt.draw]
    basis = fit_pca(iter([evidence.vocabulary, *(prompt.vectors[0] for prompt in prompts), *draws]), n_components=2)
    tokens = basis.place(evidence.vocabulary[:: max(1, len(evidence.vocabulary) // MAX_VOCABULARY)])
    figure = Figure(figsize=(7.2, 4.4))
    for axes, title in zip(figure.subplots(1, 2), ("all vectors", "zoom on the vocabulary"), strict=True):
        axes.scatter(tokens[:, 0], tokens[:, 1], s=5, c="#c8c8c8", label="token embeddings", linewidths=0)
        for index, prior in enumerate(dict.fromkeys(prompt.prior for prompt in prompts)):
            _displacements(
                axes, [prompt for prompt in prompts if prompt.prior == prior], basis, style=_series_style(index)
            )
        axes.set(title=title, xlabel="PC 1", ylabel="PC 2")
    low, high = tokens.min(0), tokens.max(0)
    margin = 0.5 * (high - low) + 1e-9
    axes.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
    figure.suptitle("Prior draws (rings), tuned vectors (dots) and token embeddings (grey)", fontsize=10)
    _legend_below(figure, axes)
    return figure


def _displacements(axes: Axes, prompts: Sequence[TunedPrompt], basis: PcaBasis, *, style: SeriesStyle) -> None:
    """Tuned vectors of the prompts of one prior, each with a line to its draw."""
    after = basis.place(np.concatenate([prompt.vectors[0] for prompt in prompts]))
    if all(0 in prompt.draw for prompt in prompts):
        before = basis.place(np.concatenate([prompt.draw[0] for prompt in prompts]))
        axes.plot(*np.stack([before, after]).transpose(2, 0, 1), c=style.colour, lw=0.4, alpha=0.5)
        axes.scatter(
            before[:, 0],
            before[:, 1],
            s=7,
            facecolors="none",
            edgecolors=style.colour,
            linewidths=0.6,
            marker=style.marker,
        )
    axes.scatter(
        after[:, 0], after[:, 1], s=10, c=style.colour, label=prompts[0].prior, linewidths=0, marker=style.marker
    )


def _curves(evidence: Evidence) -> Figure | None:
    groups = {name: [p for p in group if len(p.curve) > 1] for name, group in groups_of(evidence.prompts).items()}
    groups = {name: group for name, group in groups.items() if group}
    if not groups:
        return None
    n_rows = (len(groups) + 1) // 2
    figure = Figure(figsize=(7.2, 2.4 * n_rows + 0.8))
    priors = list(dict.fromkeys(prompt.prior for group in groups.values() for prompt in group))
    panels = figure.subplots(n_rows, min(2, len(groups)), squeeze=False).ravel()
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    for axes, (name, group) in zip(panels, groups.items(), strict=False):
        for prompt in group:
            steps, losses = zip(*prompt.curve, strict=True)
            style = _series_style(priors.index(prompt.prior))
            axes.plot(steps, losses, c=style.colour, ls=style.line, lw=0.9, label=prompt.prior)
        axes.set(xlabel="step", ylabel="validation loss (nats)", yscale="log")
        axes.set_title(name, fontsize=8)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _legend_below(figure, *panels[: len(groups)])
    return figure


def _separation(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    if not rows:
        return None
    figure = Figure(figsize=(7.2, 3.2))
    for axes, measure in zip(figure.subplots(1, 2), ("silhouette", "hdbscan_ari"), strict=True):
        own = [row for row in rows if row["measure"] == measure and row["per"] == "text"]
        _plot_by_layer(
            axes,
            {" | ".join(row["pair"]): [] for row in own},
            own,
            key=lambda row: " | ".join(row["pair"]),
            value="value",
        )
        axes.set(title=label(measure), xlabel="layer (input of block)")
        axes.axhline(0, c="#999999", lw=0.5)
    _legend_below(figure, *figure.axes)
    return figure


def _trajectories(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
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
        _plot_by_layer(axes, {row["name"]: [] for row in flat}, flat, key=lambda row: str(row["name"]), value="value")
        axes.axhline(1, c="#999999", lw=0.5)
        axes.set(title=f"{label(measure)} relative to random walk", xlabel="layer (input of block)", ylim=(0, None))
    _legend_below(figure, *figure.axes)
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
        _plot_by_layer(
            axes, {row["dataset"]: [] for row in kept}, kept, key=lambda row: str(row["dataset"]), value=measure
        )
        axes.set(title=title, xlabel="layer (input of block)")
    _legend_below(figure, *figure.axes)
    return figure


def _tasks(evidence: Evidence) -> Figure | None:
    """Mean states of texts at the first, a middle and the last layer, each layer on its own two principal components."""
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
    _legend_below(figure, *figure.axes)
    return figure


def _plot_by_layer(
    axes: Axes, series: dict[str, list[Any]], rows: Sequence[Mapping[str, Any]], *, key: Any, value: str
) -> None:
    for row in rows:
        series[key(row)].append((row["layer"], row[value]))
    for index, (name, points) in enumerate(list(series.items())[:MAX_LINES]):
        layers, values = zip(*sorted(points), strict=True)
        style = _series_style(index)
        axes.plot(layers, values, marker=style.marker, ms=3, lw=1, ls=style.line, c=style.colour, label=name)


def _series_style(index: int) -> SeriesStyle:
    """Style of the series ``index``; when colours repeat, marker and line style differ."""
    cycle = index // len(COLOURS)
    return SeriesStyle(
        colour=COLOURS[index % len(COLOURS)],
        marker=MARKERS[cycle % len(MARKERS)],
        line=LINE_STYLES[cycle % len(LINE_STYLES)],
    )


def _legend_below(figure: Figure, *panels: Axes) -> None:
    """One legend for all panels, below them."""
    handles = {name: handle for axes in panels for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=7)


def _svg(figure: Figure) -> str:
    figure.set_layout_engine("constrained")
    buffer = io.StringIO()
    # Without a date, so that equal reports are equal files.
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
