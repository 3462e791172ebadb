from __future__ import annotations

import pytest
from promptatlas.types import TuneSpec

from demo.study.budget import Lengths
from demo.study.calibration import LONG, SHORT, calibrations, fixed_s, seconds_per_step, token_s
from demo.study.plans.demo_model import DEMO_MODEL
from demo.study.plans.smollm2 import FULL, SMOLLM2
from tests.demo.study.cards import card


def test_the_two_runs_differ_in_their_steps_alone() -> None:
    short, long = calibrations(SMOLLM2, size=FULL, dataset="arithmetic")
    first, second = (TuneSpec.model_validate(one.spec) for one in (short, long))
    assert (first.optimizer.steps, second.optimizer.steps) == (SHORT, LONG)
    optimizer = second.optimizer.model_copy(update={"steps": SHORT})
    assert second.model_copy(update={"optimizer": optimizer, "name": first.name}) == first
    assert not short.in_report
    assert not long.in_report


def test_the_time_of_a_step_is_the_difference_of_the_runs() -> None:
    assert seconds_per_step(30.0, 30.0 + 3 * (LONG - SHORT)) == pytest.approx(3.0)
    assert seconds_per_step(30.0, 28.0) == 28.0 / LONG


def test_the_time_of_a_token_is_a_share_of_the_step() -> None:
    _, one = calibrations(SMOLLM2, size=FULL, dataset="arithmetic")
    step_s = one.n_members * (FULL.batch_size * 30 + 20) * 1e-3
    assert token_s(step_s, one=one, lengths=Lengths(input=26, target=4)) == pytest.approx(1e-3)


def test_the_fixed_part_grows_with_layers_prompts_and_maps() -> None:
    two = SMOLLM2.maps(FULL, card(), {})
    base = fixed_s(SMOLLM2, card=card(), n_prompts=100, maps=two)
    assert base < fixed_s(SMOLLM2, card=card(n_layers=60), n_prompts=100, maps=two)
    assert base < fixed_s(SMOLLM2, card=card(), n_prompts=101, maps=two)
    assert base < fixed_s(SMOLLM2, card=card(), n_prompts=100, maps=[*two, two[0]])
    assert fixed_s(DEMO_MODEL, card=card(n_layers=6), n_prompts=100, maps=two) < base
