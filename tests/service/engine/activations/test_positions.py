from __future__ import annotations

import pytest

from service.engine.activations.positions import chosen_positions, position_rank
from service.engine.requests import Positions, Slice
from service.errors import InvalidRequest


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ("all", (0, 1, 2, 3, 4)),
        ("last", (4,)),
        ("generated", ()),
        ((3, -5, 3, -1), (3, 0, 3, 4)),
        (Slice(start=1, stop=3), (1, 2)),
        (Slice(start=-2), (3, 4)),
        (Slice(stop=-3), (0, 1)),
        (Slice(start=4, stop=99), (4,)),
        (Slice(start=3, stop=1), ()),
    ],
)
def test_positions_of_an_input_of_five_tokens(positions: Positions, expected: tuple[int, ...]) -> None:
    assert chosen_positions(positions, n_input=5) == expected


@pytest.mark.parametrize("position", [5, -6])
def test_a_listed_position_out_of_range_is_refused_with_the_range(position: int) -> None:
    with pytest.raises(InvalidRequest, match=r"-5 to 4") as error:
        chosen_positions((0, position), n_input=5)
    assert error.value.loc == ("positions", 1)


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ("all", [0, 1, 2, 3, 4]),
        ("generated", [None, None, None, 0, 1]),
        ("last", [None, None, 0, None, None]),
        ((4, 0), [1, None, None, None, 0]),
        (Slice(start=2), [None, None, 0, 1, 2]),
        (Slice(start=1, stop=4), [None, 0, 1, 2, None]),
        (Slice(start=4, stop=5), [None, None, None, None, 0]),
        (Slice(stop=-1), [0, 1, None, None, None]),
    ],
)
def test_ranks_in_a_row_of_three_input_and_two_generated_tokens(
    positions: Positions, expected: list[int | None]
) -> None:
    rank = position_rank(positions, n_input=3, n_total=5)
    assert [rank(position) for position in range(5)] == expected
