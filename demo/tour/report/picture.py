"""The picture of the demo: training curves, prompt vectors, states at the last token, and two trajectories."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from demo.tour.outcomes import Outcome
from demo.tour.states import LastStates, Trajectory

Array = npt.NDArray[np.float32]

# Okabe and Ito's colours, which colour-blind readers can distinguish.
COLOURS: Final = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")
FIXED: Final[Mapping[str, str]] = {"bare": "#999999", "header typed": "#000000", "instructed": "#000000"}

N_TOKENS: Final = 5000
"""Number of evenly spaced tokens in the picture, at least; more of them make it slow and hide the prompts."""


def save_picture(
    path: Path,
    *,
    outcome: Outcome,
    tokens: Array,
    last: LastStates,
    trajectories: Sequence[Trajectory],
    token_texts: Sequence[Sequence[str]],
) -> None:
    """Write a PNG.

    Args:
        outcome: results of a run on soft prompts. tokens: `[n, d_model]`, the model's embeddings.
        token_texts: the token texts of each trajectory.
    """
    figure = Figure(figsize=(13, 11), layout="constrained")
    (upper_left, upper_right), (lower_left, lower_right) = figure.subplots(2, 2)
    _draw_curves(upper_left, outcome)
    _draw_moves(upper_right, outcome, tokens=tokens)
    _draw_last(lower_left, last)
    colours = colours_of(last.by_variant)
    _draw_trajectories(lower_right, trajectories, token_texts=token_texts, layer=last.layer, colours=colours)
    figure.savefig(path, dpi=110)


def colours_of(labels: Sequence[str] | Mapping[str, object]) -> dict[str, str]:
    """A colour for each label, fixed ones first. Colours repeat if there are more labels."""
    free = (label for label in labels if label not in FIXED)
    return {**FIXED, **{label: COLOURS[i % len(COLOURS)] for i, label in enumerate(free)}}


def plane_of(states: Array) -> tuple[Array, Array]:
    """Mean `[d]` and the two leading principal directions `[2, d]` of states `[n, d]`, signs fixed."""
    mean = states.mean(axis=0)
    _, _, directions = np.linalg.svd(states - mean, full_matrices=False)
    leading = directions[:2]
    largest = leading[np.arange(2), np.abs(leading).argmax(axis=1)]
    return mean, leading * np.sign(largest)[:, None]


def _draw_curves(axes: Axes, outcome: Outcome) -> None:
    colours = colours_of(outcome.job.priors)
    labelled: set[str] = set()
    for member in outcome.members:
        if member.curve is None:
            continue
        label = None if member.prior in labelled else member.prior
        labelled.add(member.prior)
        axes.plot(member.curve.steps, member.curve.losses, color=colours[member.prior], label=label, linewidth=1.4)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("validation loss, nats per answer token")
    axes.set_title(f"Training, by prior ({outcome.job.title})")
    if labelled:
        axes.legend(fontsize=8, framealpha=0.9)


def _draw_moves(axes: Axes, outcome: Outcome, *, tokens: Array) -> None:
    colours = colours_of(outcome.job.priors)
    tokens = tokens[:: max(1, len(tokens) // N_TOKENS)]
    every = [tokens, *(member.draw["soft"] for member in outcome.members)]
    mean, directions = plane_of(np.concatenate(every))
    x, y = ((tokens - mean) @ directions.T).T
    axes.scatter(x, y, s=6, color="#cccccc", label="tokens")
    for member in outcome.members[:: len(outcome.job.seeds)]:
        start, end = ((vectors["soft"] - mean) @ directions.T for vectors in (member.draw, member.posterior))
        for here, there in zip(start, end, strict=True):
            axes.plot(*zip(here, there, strict=True), color=colours[member.prior], linewidth=0.8)
        axes.scatter(end[:, 0], end[:, 1], s=14, color=colours[member.prior], label=member.prior)
    axes.set_title(f"From draw (end of a line) to tuned vector (dot), seed {outcome.job.seeds[0]}")
    axes.legend(fontsize=8, framealpha=0.9)
    _bare_axes(axes)


def _draw_last(axes: Axes, last: LastStates) -> None:
    colours = colours_of(last.by_variant)
    mean, directions = plane_of(np.concatenate(list(last.by_variant.values())))
    for label, states in last.by_variant.items():
        x, y = ((states - mean) @ directions.T).T
        axes.scatter(x, y, s=22, label=label, color=colours[label])
    axes.set_title(f"The last token of each question, by prompt (layer {last.layer})")
    axes.legend(fontsize=8, framealpha=0.9)
    _bare_axes(axes)


def _draw_trajectories(
    axes: Axes,
    trajectories: Sequence[Trajectory],
    *,
    token_texts: Sequence[Sequence[str]],
    layer: int,
    colours: Mapping[str, str],
) -> None:
    mean, directions = plane_of(np.concatenate([one.states for one in trajectories]))
    for trajectory, texts in zip(trajectories, token_texts, strict=True):
        points = (trajectory.states - mean) @ directions.T
        n_input = int((~trajectory.generated).sum())
        colour = colours[trajectory.label]
        axes.plot(*points[:n_input].T, color=colour, alpha=0.3, linewidth=0.8)
        axes.plot(*points[n_input - 1 :].T, color=colour, marker="o", markersize=4, label=trajectory.label)
        for point, text in zip(points[n_input:], texts[n_input:], strict=True):
            axes.annotate(
                text, point, xytext=(4, 4), textcoords="offset points", fontsize=8, color=colour, parse_math=False
            )
    axes.set_title(f"One question, read (faint) and answered (strong; layer {layer})")
    axes.legend(fontsize=8, framealpha=0.9)
    _bare_axes(axes)


def _bare_axes(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("first principal direction")
    axes.set_ylabel("second")
