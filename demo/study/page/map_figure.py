"""The picture of a map: a panel for each layer, with points by source, and prompts joined to their draws."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from promptatlas import Client

from demo.study.record import Record
from demo.tour.report.picture import COLOURS

DPI: Final = 110
BACKGROUND: Final = "#cccccc"
PERCENTILES: Final = (0.2, 99.8)
"""Of the coordinates that a panel shows: single outliers would shrink all others to a spot."""


def save_maps(client: Client, *, record: Record, folder: Path) -> list[Path]:
    """Write ``{name}.png`` for every map of the study; returns the paths."""
    paths = []
    for name, done in record.runs.items():
        if "n_points" in done.facts:
            path = folder / f"{name}.png"
            draw_map(client.maps.get(done.run_id)).savefig(path, dpi=DPI)
            paths.append(path)
    return paths


def draw_map(found: Any) -> Figure:
    """A figure of a map that the SDK returned."""
    layers = sorted(found.layers)
    n_columns = min(2, len(layers))
    n_rows = -(-len(layers) // n_columns)
    figure = Figure(figsize=(7 * n_columns, 5.6 * n_rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(n_rows, n_columns)).ravel()
    palette = (*COLOURS, "#000000", "#8B4513")
    colours = {source: palette[i % len(palette)] for i, source in enumerate(_foreground(found))}
    for axes, layer in zip(panels, layers, strict=False):
        _draw_layer(axes, found.where(layer=layer), colours=colours)
        axes.set_title(f"{found.method}, layer {layer}", fontsize=10)
    for axes in panels[len(layers) :]:
        axes.set_visible(False)
    return figure


def _foreground(found: Any) -> list[str]:
    """Sources that are more than the vocabulary, in their order."""
    return [name for name in found.sources if (found.where(source=name).role != "embedding").any()]


def _draw_layer(axes: Axes, points: Any, *, colours: dict[str, str]) -> None:
    background = points.where(role="embedding")
    axes.scatter(background.x, background.y, s=1, color=BACKGROUND, linewidths=0, rasterized=True)
    for source, colour in colours.items():
        own = points.where(source=source)
        if not len(own):
            continue
        states, posteriors = own.where(role="state"), own.where(role="posterior")
        for ends, size, edge in ((states, 3, 0.0), (posteriors, 16, 0.4)):
            if len(ends):
                axes.scatter(
                    ends.x,
                    ends.y,
                    s=size,
                    color=colour,
                    linewidths=edge,
                    edgecolors="black",
                    label=source,
                    rasterized=True,
                )
        groups = list(dict.fromkeys(name for name in own.group if name is not None))
        # All prompts from draw to posterior, but one trajectory: several hide everything else.
        for group in groups if len(posteriors) else groups[:1]:
            path = own.where(group=group)
            axes.plot(path.x, path.y, color=colour, linewidth=0.7)
    for coordinates, limit in ((points.x, axes.set_xlim), (points.y, axes.set_ylim)):
        low, high = np.percentile(coordinates, PERCENTILES)
        margin = 0.05 * (high - low) or 1.0
        limit(low - margin, high + margin)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(fontsize=7, markerscale=3)
