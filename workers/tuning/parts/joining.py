"""Checkpoint files of a whole training from those of its parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from workers.tuning.training.state import NUMBERS, TENSORS, join_states
from workers.tuning.training_loop import CURVES

Files = Mapping[str, bytes]


def join_parts(parts: Sequence[Files], *, first_points: Files) -> dict[str, bytes]:
    """The files of the training of all members, in the order of the parts.

    Args:
        parts: the files of each part's training, after its last step.
        first_points: those of the training of all members before its first step, for the points of the draws.
    """
    joined = join_states([{NUMBERS: part[NUMBERS], TENSORS: part[TENSORS]} for part in parts])
    curves = [json.loads(files[CURVES]) for files in (first_points, *parts)]
    points = [point for curve in curves for point in curve["points"]]
    # Stable: the points of one step are in the order of the members, as those of one training of all members.
    points.sort(key=lambda point: int(point["step"]))
    losses = {name: values for curve in curves for name, values in curve["losses"].items()}
    return {**joined, CURVES: json.dumps({"losses": losses, "points": points}).encode()}
