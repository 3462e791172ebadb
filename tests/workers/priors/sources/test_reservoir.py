from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

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
