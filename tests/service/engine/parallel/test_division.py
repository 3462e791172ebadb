"""Which tensors are parts, from the tensors of two ranks. The ranks are two columns of numbers in one process."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from service.engine.model.sites import SiteCatalogue
from service.engine.parallel.division import Division, digest, require_divisible
from service.errors import InvalidRequest, UnsupportedModel

PLAN = {"layers.*.up": "colwise", "layers.*.down": "rowwise"}
N_TOKENS, WIDTH, INNER = 5, 6, 8


def block() -> nn.Module:
    parts = {"up": nn.Linear(WIDTH, INNER), "act": nn.GELU(), "odd": nn.Identity(), "down": nn.Linear(INNER, WIDTH)}
    return nn.ModuleDict(parts)


@pytest.fixture
def model() -> nn.Module:
    return nn.ModuleDict({"layers": nn.ModuleList([block(), block()])})


@dataclass(frozen=True)
class Rank0(Division):
    """Rank 0 of two, given what rank 1 would send."""

    other: Tensor | None = None

    def collected(self, tensor: Tensor, *, dim: int) -> Tensor:
        assert self.other is not None
        return torch.cat([tensor, self.other], dim=dim)


def rows(width: int, *, seed: int) -> Tensor:
    return torch.randn(N_TOKENS, width, generator=torch.Generator().manual_seed(seed))


def test_parts_are_what_differs_with_the_width_of_a_divided_layer(model: nn.Module) -> None:
    shared = rows(WIDTH, seed=0)
    tensors = {
        "layers.1.up": (rows(INNER // 2, seed=1), rows(INNER // 2, seed=2)),
        "layers.1.act": (rows(INNER // 2, seed=3), rows(INNER // 2, seed=4)),
        "layers.1.odd": (rows(3, seed=5), rows(3, seed=6)),
        "layers.1.down": (shared, shared + 1e-6),
    }
    other = torch.stack([digest(theirs) for _, theirs in tensors.values()])[None]
    found = Rank0(2, 0, other=other).with_parts(
        model, PLAN, {path: digest(ours) for path, (ours, _) in tensors.items()}
    )
    modules = dict(model.named_modules())
    outputs = {path for path in tensors if found.is_part(modules[path], of_input=False)}
    assert outputs == {"layers.1.up", "layers.1.act"}
    assert found.unreadable == {"layers.1.odd"}
    inputs = {path for path, module in modules.items() if found.is_part(module, of_input=True)}
    assert inputs == {"layers.0.down", "layers.1.down"}


def test_a_rank_takes_its_part_of_whole_rows(model: nn.Module) -> None:
    up = model.get_submodule("layers.0.up")
    whole = rows(INNER, seed=0)
    for rank in (0, 1):
        division = Division(2, rank, parts=frozenset({(up, False)}), n_head_ranks=2)
        assert torch.equal(division.own(up, whole, of_input=False), whole.chunk(2, dim=1)[rank])
        assert torch.equal(division.own(up, whole, of_input=True), whole)
        assert torch.equal(division.own_heads(whole, dim=1), whole.chunk(2, dim=1)[rank])


def test_heads_are_divided_in_all_layers_or_in_none() -> None:
    same, ours, theirs = (rows(4, seed=seed) for seed in range(3))
    for other, expected in (([same, same], 1), ([theirs, theirs], 2)):
        keys = [same, same] if expected == 1 else [ours, ours]
        division = Rank0(2, 0, other=torch.stack([digest(key) for key in other])[None])
        assert division.with_heads(keys).n_head_ranks == expected
    mixed = Rank0(2, 0, other=torch.stack([digest(same), digest(theirs)])[None])
    with pytest.raises(UnsupportedModel, match="expected the heads of all layers to be divided, or of none"):
        mixed.with_heads([same, ours])


def test_a_width_that_the_ranks_do_not_divide_is_refused(model: nn.Module) -> None:
    require_divisible(model, PLAN, size=4)
    with pytest.raises(UnsupportedModel, match=r"expected a divisor of 8, the width of layers\.0\.up, got 3"):
        require_divisible(model, PLAN, size=3)


def test_a_site_that_cannot_be_collected_is_refused_with_the_setting() -> None:
    catalogue = SiteCatalogue(
        n_layers=2, d_model=WIDTH, vocab_size=9, n_heads=2, widths={}, scattered=frozenset({"layers.1.odd"})
    )
    with pytest.raises(InvalidRequest, match="read it with PROMPTATLAS_TENSOR_PARALLEL=1"):
        catalogue.resolve(["layers.1.odd"], [])
