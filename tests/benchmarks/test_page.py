"""The page's benchmark sees what it says, at a size of a moment. Nothing is timed."""

from __future__ import annotations

import os

import pytest

from benchmarks import page
from benchmarks.measuring.contest import warm_up

SMALL = page.Size(n=800, n_moves=3)


@pytest.mark.skipif(
    os.environ.get("PROMPTATLAS_TEST_CHROMIUM") is None, reason="PROMPTATLAS_TEST_CHROMIUM names no Chromium"
)
def test_all_points_are_seen_on_both_sides() -> None:
    with page.open_contest(SMALL, http=True) as contest:
        agreements = warm_up(contest)
    assert [agreement.holds for agreement in agreements] == [True]


def test_a_page_needs_http() -> None:
    with pytest.raises(ValueError, match="HTTP"), page.open_contest(SMALL, http=False):
        pass
