"""The plane of the projected states, and the colours of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demo.tour.report.picture import COLOURS, colours_of, plane_of, save_picture
from demo.tour.states import LastStates, Trajectory
from tests.demo.tour.members import outcome


def test_the_plane_holds_the_widest_directions() -> None:
    states = np.random.default_rng(3).normal(size=(50, 5)).astype(np.float32) * [1, 30, 1, 10, 1]
    mean, directions = plane_of(states.astype(np.float32))
    np.testing.assert_allclose(mean, states.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(np.abs(directions), np.eye(5)[[1, 3]], atol=0.1)
    assert directions[0, 1] > 0
    assert directions[1, 3] > 0


def test_the_bare_model_is_always_grey() -> None:
    many = [f"prior {i}" for i in range(len(COLOURS) + 1)]
    colours = colours_of(["bare", *many])
    assert colours["bare"] == colours_of(["soft", "bare"])["bare"]
    assert len({colours[label] for label in many}) == len(COLOURS)
    assert colours["bare"] not in COLOURS


@pytest.mark.parametrize("with_curve", [True, False])
def test_a_picture_is_drawn(with_curve: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    last = LastStates(1, {label: rng.normal(size=(3, 6)).astype(np.float32) for label in ("bare", "soft", "deep")})
    generated = np.array([False, False, True, True])
    states = rng.normal(size=(4, 6)).astype(np.float32)
    trajectory = Trajectory("bare", "c d", (1, 2, 3, 4), states, generated, np.zeros(4, np.float32))
    found = outcome()
    if not with_curve:
        found = outcome(members=tuple(type(one)(**{**vars(one), "curve": None}) for one in found.members))
    tokens = rng.normal(size=(9, 4)).astype(np.float32)
    texts = [["a", "b", " $c", " $\\frac$"]]
    save_picture(
        tmp_path / "a.png", outcome=found, tokens=tokens, last=last, trajectories=[trajectory], token_texts=texts
    )
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
