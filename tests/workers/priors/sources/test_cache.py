from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from workers.priors.sources.cache import Cache, n_bytes_of


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
