from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from promptatlas.types import TuneSpec

from service.errors import InvalidRequest
from service.planning.checks.memory import Need, least_need, n_parameters
from service.planning.checks.methods import check_method
from service.planning.context import Base
from service.planning.run_kinds import plan
from service.planning.specs import parse_spec
from tests.service.planning.planning_world import CARD, planning_context, tune_spec

BASE = Base.from_card("demo", CARD)


def need(*, base: Base = BASE, **changes: Any) -> Need:
    spec = parse_spec(TuneSpec, tune_spec(**changes), at=())
    return least_need(spec, base=base, form=check_method(spec.method, base=base))


def test_parameters_by_hand() -> None:
    # 97 tokens of 7; in each of 5 layers 4 matrices of attention (2 with 2·3 columns, 2 with 1·3) and 4 squares of 7.
    assert n_parameters(BASE) == 97 * 7 + 5 * (2 * 7 * 6 + 2 * 7 * 3 + 4 * 49)


def test_a_prompt_by_hand() -> None:
    assert need().prompt_bytes == 4 * 7 * 4 * 4
    assert need(method={"kind": "deep", "n_virtual": 4, "layers": [1, -1]}).prompt_bytes == 2 * 4 * 7 * 4 * 4
    assert need(method={"kind": "prefix", "n_virtual": 4}).prompt_bytes == 5 * 2 * 3 * 4 * 4 * 4


def test_states_by_hand() -> None:
    # 3 rows of 2 tokens, 5 layers, 4 vectors of 7 kept of each; logits at one position a row.
    optimizer = {"batch_size": 6, "accumulate": 2}
    assert need(optimizer=optimizer).state_bytes == (3 * 2 * 5 * 4 * 7 + 3 * 97) * 4
    assert need(optimizer=optimizer, gradient_checkpointing=True).state_bytes == (3 * 2 * 5 * 7 + 3 * 97) * 4
    top = {"kind": "deep", "n_virtual": 4, "layers": [-1, -2]}
    assert need(optimizer=optimizer, method=top).state_bytes == (3 * 2 * 2 * 4 * 7 + 3 * 97) * 4


def test_a_model_never_needs_less_than_is_reckoned() -> None:
    folder = Path(__file__).parents[4] / "demo" / "model"
    config = json.loads((folder / "config.json").read_text())
    card = {
        **CARD,
        "n_layers": config["num_hidden_layers"],
        "d_model": config["hidden_size"],
        "n_heads": config["num_attention_heads"],
        "n_kv_heads": config["num_key_value_heads"],
        "d_head": config["head_dim"],
        "vocab_size": config["vocab_size"],
    }
    n_bytes = (folder / "model.safetensors").stat().st_size
    assert 0.5 * n_bytes < n_parameters(Base.from_card("demo", card)) * 4 <= n_bytes


@pytest.mark.parametrize(
    ("changes", "loc"),
    [
        ({"optimizer": {"batch_size": 1}}, ("model",)),
        ({"optimizer": {"batch_size": 65_536}}, ("optimizer", "batch_size")),
    ],
)
def test_a_member_that_cannot_fit_is_refused_and_told_what_would(changes: Any, loc: tuple[str, ...]) -> None:
    enough = need(**changes).total_bytes
    spec = tune_spec(**changes)
    assert plan("tune", spec, context=planning_context(memory_bytes=enough)).spec["model"] == "demo"
    with pytest.raises(InvalidRequest, match="gradient_checkpointing") as caught:
        plan("tune", spec, context=planning_context(memory_bytes=enough - 1))
    assert caught.value.loc == ("spec", *loc)


def test_many_members_are_not_held_against_it() -> None:
    enough = need().total_bytes
    assert plan("tune", tune_spec(seeds=list(range(500))), context=planning_context(memory_bytes=enough))
