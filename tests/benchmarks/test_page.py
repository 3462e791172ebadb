"""The page's benchmarks see what they say, at a size of a moment. Nothing is timed."""

from __future__ import annotations

import pytest

from benchmarks.contests.page import atlas, first_paint
from benchmarks.contests.page.scatterplots import has_regl
from benchmarks.measuring.contest import warm_up
from demo.browser import find_chromium

SMALL = atlas.Size(n=800, n_moves=3)
MILLION = atlas.Size(name="page-million", n=1600, n_moves=3, has_plotly=False)


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium here")
@pytest.mark.parametrize("size", [SMALL, MILLION])
def test_all_points_are_seen_on_every_side_and_a_lasso_selects_some(size: atlas.Size) -> None:
    with atlas.open_contest(size, http=True) as contest:
        agreements = warm_up(contest)
        names = [side.name for side in contest.sides]
    assert [agreement.holds for agreement in agreements] == [True, True]
    expected = {"atlas"} | ({"plotly"} if size.has_plotly else set()) | ({"regl-scatterplot"} if has_regl() else set())
    assert set(names) == expected


def test_a_page_needs_http() -> None:
    with pytest.raises(ValueError, match="HTTP"), atlas.open_contest(SMALL, http=False):
        pass


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium here")
def test_a_view_is_opened_with_all_its_files() -> None:
    with first_paint.open_contest(first_paint.Size(views=["datasets"]), http=True) as contest:
        [agreement] = warm_up(contest)
        page, heading = ([one.n_files for one in side.run()] for side in contest.sides)
    assert agreement.holds
    assert page[0] > 30
    assert heading[0] <= 2  # the page, and perhaps an icon


def test_a_first_paint_needs_http() -> None:
    with pytest.raises(ValueError, match="HTTP"), first_paint.open_contest(first_paint.QUICK, http=False):
        pass
