"""The criterion for a learnt task."""

from __future__ import annotations

import pytest

from demo.tour.outcomes import Member
from demo.tour.verdict import judge
from tests.demo.tour.members import member, outcome


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
