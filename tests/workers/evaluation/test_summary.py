from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from workers.analysis.intervals import mean_interval
from workers.evaluation.example_rows import ExampleRow
from workers.evaluation.summary import Summary


def row(label: str, *, index: int, scores: Mapping[str, float], loss: float | None, n_tokens: int = 1) -> ExampleRow:
    return ExampleRow(
        label=label, split="test", index=index, input="", answers=("",), scores=scores, loss=loss, n_tokens=n_tokens
    )


ROWS = [
    row("a", index=0, scores={"f1": 1.0}, loss=0.5, n_tokens=2),
    row("b", index=0, scores={"f1": 0.0}, loss=None, n_tokens=2),
    row("a", index=1, scores={"f1": 0.25}, loss=2.0, n_tokens=6),
    row("b", index=1, scores={"f1": 0.5}, loss=1.0, n_tokens=6),
    row("a", index=2, scores={"f1": 0.25}, loss=1.0, n_tokens=1),
]


def summary() -> Summary:
    return Summary(ROWS, metrics=("f1", "loss", "perplexity"), samples=500, seed=3)


def test_a_metric_is_the_mean_over_examples_with_its_interval() -> None:
    score = summary().of("a")["test/f1"]
    assert (score.value, score.n) == (0.5, 3)
    assert (score.low, score.high) == mean_interval([1.0, 0.25, 0.25], samples=500, seed=3)
    assert score.low < score.value < score.high


def test_a_loss_is_the_mean_over_tokens() -> None:
    score = summary().of("a")["test/loss"]
    assert score.value == pytest.approx((2 * 0.5 + 6 * 2.0 + 1 * 1.0) / 9)
    assert (score.low, score.high) == mean_interval([0.5, 2.0, 1.0], weights=[2, 6, 1], samples=500, seed=3)


def test_perplexity_is_e_to_the_loss_and_so_are_its_bounds() -> None:
    loss, perplexity = summary().of("a")["test/loss"], summary().of("a")["test/perplexity"]
    assert perplexity.value == pytest.approx(math.exp(loss.value))
    assert (perplexity.low, perplexity.high) == pytest.approx((math.exp(loss.low), math.exp(loss.high)))


def test_a_perplexity_too_large_for_a_float_is_cut() -> None:
    huge = Summary([row("a", index=0, scores={}, loss=1e6)], metrics=("perplexity",), samples=100, seed=0)
    assert math.isfinite(huge.of("a")["test/perplexity"].value)


def test_a_loss_that_is_no_number_somewhere_is_left_out() -> None:
    assert set(summary().of("b")) == {"test/f1"}


def test_flat_names_carry_a_prefix_and_the_bounds() -> None:
    flat = summary().flat("b", prefix="bare/")
    assert set(flat) == {"bare/test/f1", "bare/test/f1_low", "bare/test/f1_high"}
    assert flat["bare/test/f1"] == 0.25


def test_an_unknown_label_has_no_scores() -> None:
    assert summary().of("c") == {}
