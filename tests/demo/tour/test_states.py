"""Distances and step lengths, with values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from demo.tour.states import LastStates, Trajectory


def test_distance_is_relative_to_the_distance_between_questions() -> None:
    # The reference's two questions are 10 apart; every state of the other variant is 5 from its own.
    reference = np.array([[0.0, 0.0], [6.0, 8.0]], np.float32)
    moved = reference + np.array([3.0, 4.0], np.float32)
    last = LastStates(2, {"typed": reference, "moved": moved})
    assert last.distance("moved", reference="typed") == pytest.approx(0.5)
    assert last.distance("typed", reference="typed") == 0


def test_a_step_length_is_the_distance_from_the_previous_state() -> None:
    states = np.array([[0, 0], [3, 4], [3, 5]], np.float32)
    generated = np.array([False, False, True])
    trajectory = Trajectory("bare", " x", (5, 6, 7), states, generated, np.array([np.nan, np.nan, -0.5], np.float32))
    np.testing.assert_array_equal(trajectory.step_lengths, [np.nan, 5, 1])
