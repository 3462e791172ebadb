"""The page's benchmark sees what it says, at a size of a moment. Nothing is timed."""

from __future__ import annotations

import pytest

from benchmarks.contests.maps import page
from benchmarks.measuring.contest import warm_up
from demo.browser import find_chromium

SMALL = page.Size(n=800, n_moves=3)


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium here")
def test_all_points_are_seen_on_both_sides() -> None:
    with page.open_contest(SMALL, http=True) as contest:
        agreements = warm_up(contest)
    assert [agreement.holds for agreement in agreements] == [True]


def test_a_page_needs_http() -> None:
    with pytest.raises(ValueError, match="HTTP"), page.open_contest(SMALL, http=False):
        pass
