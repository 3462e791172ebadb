"""One picture of the demo: where answers are decided under each prompt, and the way two generations take."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from demo.tour.states import LastStates, Walk

Array = npt.NDArray[np.float32]

# Okabe and Ito's colours, told apart by colour-blind readers too; the label decides, not the place in a list.
COLOURS: Final[Mapping[str, str]] = {
    "bare": "#999999",
    "header typed": "#000000",
    "header-soft": "#E69F00",
    "header-prefix": "#56B4E9",
    "header-carried": "#009E73",
    "header-local": "#CC79A7",
    "noise": "#D55E00",
    "mix": "#0072B2",
}
# Ways that fall onto each other stay visible as rings around a point.
RINGED: Final[Mapping[str, float]] = {"header typed": 12, "header-soft": 55, "header-prefix": 120}


def save_picture(path: Path, *, last: LastStates, walks: Sequence[Walk], token_texts: Sequence[Sequence[str]]) -> None:
    """Write a PNG. token_texts: of each walk's tokens."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_last(left, last)
    _draw_walks(right, walks, token_texts=token_texts, layer=last.layer)
    figure.savefig(path, dpi=130)


def plane_of(states: Array) -> tuple[Array, Array]:
    """Mean `[d]` and the two leading principal directions `[2, d]` of states `[n, d]`, signs fixed."""
    mean = states.mean(axis=0)
    _, _, directions = np.linalg.svd(states - mean, full_matrices=False)
    leading = directions[:2]
    largest = leading[np.arange(2), np.abs(leading).argmax(axis=1)]
    return mean, leading * np.sign(largest)[:, None]


def _draw_last(axes: Axes, last: LastStates) -> None:
    mean, directions = plane_of(np.concatenate(list(last.by_way.values())))
    for label, states in last.by_way.items():
        x, y = ((states - mean) @ directions.T).T
        ring = label in RINGED and label != "header typed"
        axes.scatter(
            x, y, s=RINGED.get(label, 22), label=label, linewidths=1.2,
            facecolors="none" if ring else COLOURS[label], edgecolors=COLOURS[label],
        )  # fmt: skip
    axes.set_title(f"The last token of each question, by prompt (layer {last.layer})")
    axes.legend(fontsize=8, framealpha=0.9)
    _bare_axes(axes)


def _draw_walks(
    axes: Axes, walks: Sequence[Walk], *, token_texts: Sequence[Sequence[str]], layer: int
) -> None:  # fmt: skip
    mean, directions = plane_of(np.concatenate([walk.states for walk in walks]))
    for walk, texts in zip(walks, token_texts, strict=True):
        points = (walk.states - mean) @ directions.T
        n_input = int((~walk.generated).sum())
        axes.plot(*points[:n_input].T, color=COLOURS[walk.label], alpha=0.3, linewidth=0.8)
        axes.plot(*points[n_input - 1 :].T, color=COLOURS[walk.label], marker="o", markersize=4, label=walk.label)
        for point, text in zip(points[n_input:], texts[n_input:], strict=True):
            axes.annotate(
                text, point, xytext=(4, 4), textcoords="offset points", fontsize=8, color=COLOURS[walk.label],
                parse_math=False,
            )  # fmt: skip
    axes.set_title(f"One question, read (faint) and answered (strong; layer {layer})")
    axes.legend(fontsize=8, framealpha=0.9)
    _bare_axes(axes)


def _bare_axes(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("first principal direction")
    axes.set_ylabel("second")
