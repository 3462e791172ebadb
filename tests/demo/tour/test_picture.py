"""The plane that states are drawn in, and that every way of asking has a colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from demo.tour.picture import COLOURS, plane_of, save_picture
from demo.tour.states import LastStates, Walk


def test_the_plane_holds_the_widest_directions() -> None:
    states = np.random.default_rng(3).normal(size=(50, 5)).astype(np.float32) * [1, 30, 1, 10, 1]
    mean, directions = plane_of(states.astype(np.float32))
    np.testing.assert_allclose(mean, states.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(np.abs(directions), np.eye(5)[[1, 3]], atol=0.1)
    assert directions[0, 1] > 0
    assert directions[1, 3] > 0


def test_a_picture_is_drawn_of_every_way(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    last = LastStates(1, {label: rng.normal(size=(3, 6)).astype(np.float32) for label in COLOURS})
    generated = np.array([False, False, True, True])
    states = rng.normal(size=(4, 6)).astype(np.float32)
    walk = Walk("bare", "c d", (1, 2, 3, 4), states, generated, np.zeros(4, np.float32))
    save_picture(tmp_path / "a.png", last=last, walks=[walk], token_texts=[["a", "b", " $c", " $\\frac$"]])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
