from __future__ import annotations

import pytest

from service.errors import InvalidRequest
from service.planning.checks.distinct import require_distinct


def test_distinct_values_pass() -> None:
    require_distinct([], what="seeds", at=("seeds",))
    require_distinct([3, 1, 2], what="seeds", at=("seeds",))


def test_the_first_repetition_is_located() -> None:
    with pytest.raises(InvalidRequest, match="Expected distinct seeds; item 2 repeats item 0: 3") as caught:
        require_distinct([3, 1, 3, 1], what="seeds", at=("spec", "seeds"))
    assert caught.value.loc == ("spec", "seeds", 2)


def test_a_field_inside_the_item_is_located() -> None:
    with pytest.raises(InvalidRequest) as caught:
        require_distinct(["a", "a"], what="names", at=("sources",), field=("name",))
    assert caught.value.loc == ("sources", 1, "name")


def test_a_long_value_is_cut() -> None:
    with pytest.raises(InvalidRequest) as caught:
        require_distinct(["x" * 10_000] * 2, what="priors", at=("priors",))
    assert len(caught.value.detail) < 200
