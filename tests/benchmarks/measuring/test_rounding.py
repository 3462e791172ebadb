"""Bounds of bfloat16 results, on numbers whose errors are made up."""

from __future__ import annotations

import pytest
import torch

from benchmarks.measuring.batches import fastest
from benchmarks.measuring.rounding import tuned_within_rounding, within_rounding
from benchmarks.sides.tuning import Tuned


def test_the_error_is_compared_with_that_of_plain_bfloat16() -> None:
    exact = torch.arange(100.0)
    plain = exact + 0.01
    assert within_rounding("x", exact - 0.039, plain=plain, exact=exact).holds
    assert not within_rounding("x", exact - 0.041, plain=plain, exact=exact).holds
    assert not within_rounding("x", exact + torch.nan, plain=plain, exact=exact).holds


def test_an_error_needs_a_plain_error() -> None:
    exact = torch.arange(100.0)
    assert within_rounding("x", exact, plain=exact, exact=exact).holds
    assert not within_rounding("x", exact + 1e-6, plain=exact, exact=exact).holds


def test_tensors_of_other_shapes_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"expected \(4,\), got \(1,\)"):
        within_rounding("x", torch.zeros(1), plain=torch.zeros(4), exact=torch.zeros(4))


def tuned(*, loss: float, moved: float) -> Tuned:
    return Tuned(losses=torch.full((3, 2), loss), tensors=[{"soft": torch.full((4, 5), 1 + moved)} for _ in range(2)])


def test_losses_and_changes_of_vectors_are_compared() -> None:
    starts = [{"soft": torch.ones(4, 5)}]
    answers = {"PEFT": tuned(loss=2.01, moved=0.11), "engine": tuned(loss=1.99, moved=0.09)}
    exact = Tuned(losses=torch.full((3, 1), 2.0), tensors=[{"soft": torch.full((4, 5), 1.1)}])
    agreements = tuned_within_rounding(answers, plain="PEFT", exact=exact, starts=starts)
    assert [agreement.label for agreement in agreements] == [
        "engine against PEFT, losses",
        "engine against PEFT, changes of vectors",
    ]
    assert all(agreement.holds for agreement in agreements)


@pytest.mark.parametrize(("loss", "moved", "holds"), [(1.95, 0.1, [False, True]), (2.0, 0.05, [True, False])])
def test_a_wrong_loss_or_vector_is_found(loss: float, moved: float, holds: list[bool]) -> None:
    starts = [{"soft": torch.ones(4, 5)}]
    answers = {"PEFT": tuned(loss=2.01, moved=0.11), "engine": tuned(loss=loss, moved=moved)}
    exact = Tuned(losses=torch.full((3, 1), 2.0), tensors=[{"soft": torch.full((4, 5), 1.1)}])
    agreements = tuned_within_rounding(answers, plain="PEFT", exact=exact, starts=starts)
    assert [agreement.holds for agreement in agreements] == holds


def test_the_fastest_size_is_that_with_the_best_of_two_runs() -> None:
    now_s, takes_s = [0.0], {4: iter([9.0, 3.0]), 8: iter([4.0, 4.0])}

    def run(size: int) -> None:
        now_s[0] += next(takes_s[size])

    assert fastest(run, (4, 8), clock=lambda: now_s[0]) == 4
    assert fastest(run, (8,), clock=lambda: now_s[0]) == 8
