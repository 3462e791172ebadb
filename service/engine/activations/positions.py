"""Positions: the text positions of a request, resolved for an input of known length. Virtual positions do not count."""

from __future__ import annotations

from collections.abc import Callable

from service.engine.requests import Positions, Slice
from service.errors import InvalidRequest


def chosen_positions(positions: Positions, *, n_input: int, n_total: int | None = None) -> tuple[int, ...]:
    """Positions of one input in the order of the request, non-negative.

    Args:
        n_input: tokens of the input; negative positions count from its end.
        n_total: the most tokens of the row, generated ones included, where these may be chosen too (default: ``n_input``).

    Raises:
        InvalidRequest: a listed position is out of range for this input.
    """
    n_total = n_input if n_total is None else n_total
    if positions == "all":
        return tuple(range(n_total))
    if positions == "last":
        return (n_input - 1,)
    if positions == "generated":
        return tuple(range(n_input, n_total))
    if isinstance(positions, Slice):
        return _of_slice(positions, n_input=n_input, n_total=n_total)
    for i, position in enumerate(positions):
        if not -n_input <= position < n_total:
            raise InvalidRequest(
                f"position {position} is out of range for an input of {n_input} tokens "
                f"(expected {-n_input} to {n_total - 1}).",
                loc=("positions", i),
            )
    return tuple(p if p >= 0 else p + n_input for p in positions)


def _of_slice(part: Slice, *, n_input: int, n_total: int) -> tuple[int, ...]:
    start, stop, _ = slice(part.start, part.stop).indices(n_input)
    if part.stop is None:
        stop = n_total
    elif part.stop > n_input:
        stop = min(part.stop, n_total)
    if part.start is not None and part.start > n_input:
        start = part.start
    return tuple(range(start, stop))


def position_rank(positions: Positions, *, n_input: int, n_total: int) -> Callable[[int], int | None]:
    """A function from a text position to its index among the chosen ones; None for a position that is not chosen."""
    rank = {position: i for i, position in enumerate(chosen_positions(positions, n_input=n_input, n_total=n_total))}
    return rank.get
