"""The rules for a successful tour."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from demo.tour.outcomes import Member, Outcome
from demo.tour.report.verdict import AccuracyRule, AccuracyVerdict, FormatRule
from tests.demo.tour.members import member, outcome


def judge(outcomes: Sequence[Outcome]) -> list[AccuracyVerdict]:
    return AccuracyRule().judge(outcomes, baselines={})


def tried(*, bare: float = 0.0, before: float = 0.0, after: float = 0.9) -> Member:
    return member("near", losses=[8.0, 0.1], bare=bare, before=before, after=after)


@pytest.mark.parametrize(
    ("one", "lifted"),
    [
        (tried(), True),
        (tried(before=0.5, after=0.85), True),
        (tried(after=0.84), False),
        (tried(bare=0.51), False),
        (tried(before=0.51), False),
    ],
)
def test_lifted_is_from_half_or_less_to_85_percent(one: Member, lifted: bool) -> None:
    (verdict,) = judge([outcome(members=(one,))])
    assert verdict.lifted is lifted


def test_only_the_best_member_by_validation_counts() -> None:
    lucky = member("far", losses=[8.0, 1.0], after=1.0)
    (verdict,) = judge([outcome(members=(lucky, tried(after=0.2)))])
    assert (verdict.prompt, verdict.after, verdict.lifted) == ("t-near-3@1", 0.2, False)


def test_runs_without_evaluation_are_skipped() -> None:
    one = tried()
    assert judge([outcome(members=(type(one)(**{**vars(one), "metrics": {}}),))]) == []


def test_one_learnt_task_is_a_success() -> None:
    good, bad = (judge([outcome(members=(tried(after=after),))])[0] for after in (0.9, 0.1))
    assert AccuracyRule().is_met([bad, good])
    assert not AccuracyRule().is_met([bad])


def formatted(*, loss: float = 1.0, share: float = 0.9) -> Outcome:
    """A run whose bare model has loss 4 and share 0, and whose draw has loss 5 and share 0.1."""
    one = member("near", losses=[5.0, loss], after=0.1)
    shares = {"bare/test/format": 0.0, "draw/test/format": 0.1, "test/format": share, "bare/test/loss": 4.0}
    return outcome(members=(type(one)(**{**vars(one), "metrics": {**one.metrics, **shares}}),))


INSTRUCTED = {"d": {"bare/test/loss": 2.0, "bare/test/format": 0.5}}


@pytest.mark.parametrize(
    ("run", "lifted"),
    [
        (formatted(), True),
        (formatted(loss=1.6, share=0.8), True),
        (formatted(loss=1.61), False),
        (formatted(share=0.79), False),
    ],
)
def test_the_instructed_model_must_be_surpassed(run: Outcome, lifted: bool) -> None:
    (verdict,) = FormatRule().judge([run], baselines=INSTRUCTED)
    assert (verdict.loss_before, verdict.format_before) == (2.0, 0.5)
    assert verdict.lifted is lifted
    assert verdict.fields()["lifted"] is lifted
    assert f"nats per token and answers in the format from 50 % to {100 * verdict.format_after:.0f} %" in str(verdict)


def test_a_format_that_was_there_before_is_no_gain() -> None:
    often = {"d": {**INSTRUCTED["d"], "bare/test/format": 0.85}}
    (verdict,) = FormatRule().judge([formatted(share=0.9)], baselines=often)
    assert not verdict.lifted


def test_every_run_must_meet_the_rule_on_formats() -> None:
    rule = FormatRule()
    good, bad = (rule.judge([formatted(loss=loss)], baselines=INSTRUCTED)[0] for loss in (1.0, 3.0))
    assert rule.is_met([good, good])
    assert not rule.is_met([good, bad])
    assert not rule.is_met([])


def test_without_an_instructed_model_there_is_no_verdict() -> None:
    assert FormatRule().judge([formatted()], baselines={}) == []
