from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from workers.priors.sources.cache import Cache, n_bytes_of
from workers.priors.sources.reservoir import Reservoir


def kept_rows(sizes: list[int], *, max_rows: int, seed: int = 0) -> Tensor:
    reservoir = Reservoir(max_rows=max_rows, seed=seed)
    begin = 0
    for n in sizes:
        reservoir.add(torch.arange(begin, begin + n)[:, None])
        begin += n
    assert reservoir.n_seen == begin
    return reservoir.rows()[:, 0]


def test_all_rows_stay_while_there_is_room() -> None:
    assert kept_rows([3, 4], max_rows=7).tolist() == list(range(7))


def test_how_the_stream_is_cut_does_not_matter() -> None:
    whole = kept_rows([300], max_rows=13)
    assert torch.equal(whole, kept_rows([1] * 5 + [95, 200], max_rows=13))
    assert len(whole) == 13
    assert bool((whole.diff() > 0).all())
    assert not torch.equal(whole, kept_rows([300], max_rows=13, seed=1))


def test_every_row_is_kept_as_often() -> None:
    places = torch.cat([kept_rows([50, 50], max_rows=10, seed=seed) for seed in range(300)])
    counts = np.bincount(places.numpy(), minlength=100)
    assert stats.chisquare(counts).pvalue > 0.01


def test_an_empty_reservoir_has_no_rows() -> None:
    with pytest.raises(ValueError, match="nothing"):
        Reservoir(max_rows=3, seed=0).rows()


def test_the_least_recently_used_goes_first() -> None:
    kept = Cache(max_bytes=100)
    made: list[str] = []

    def get(key: str, n_bytes: int) -> Tensor:
        def make() -> Tensor:
            made.append(key)
            return torch.zeros(n_bytes, dtype=torch.uint8)

        return kept.get(key, make=make)

    for key in "abab":
        get(key, 40)
    assert (made, kept.n_bytes) == (["a", "b"], 80)
    get("c", 40)
    get("b", 40)
    assert (made, kept.n_bytes) == (["a", "b", "c"], 80)
    get("large", 101)
    get("large", 101)
    assert (made[3:], kept.n_bytes) == (["large", "large"], 80)
    get("b", 40)
    assert len(made) == 5


def test_a_failure_keeps_nothing() -> None:
    kept = Cache(max_bytes=100)

    def fail() -> Tensor:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        kept.get("a", make=fail)
    assert kept.get("a", make=lambda: 3) == 3


def test_bytes_are_those_of_all_tensors_inside() -> None:
    class Holder:
        def __init__(self) -> None:
            self.parts = [torch.zeros(3), {"a": torch.zeros(5, dtype=torch.float64)}]
            self.network = nn.Linear(2, 3)
            self.name = "x"
            self.call = print

    assert n_bytes_of(Holder()) == 3 * 4 + 5 * 8 + (2 * 3 + 3) * 4
