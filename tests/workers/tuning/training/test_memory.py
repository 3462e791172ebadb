from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import torch

from service.engine.model.hosted_model import HostedModel
from tests.workers.tuning.small_training import TRAIN, examples, hosted
from workers.inputs.examples import EncodedExample
from workers.tuning.training import memory
from workers.tuning.training.memory import (
    Costs,
    costs_of,
    forward_bytes,
    group_examples,
    group_members,
    weights_bytes,
)

COSTS = Costs(bytes_per_token=10, bytes_per_answer=100)


def test_costs_grow_with_tokens_and_answers() -> None:
    texts = [EncodedExample((1, 2, 3), (4, 5)), EncodedExample((1,), (2,))]
    assert COSTS.of(texts, n_virtual=7) == 10 * (7 + 4 + 1) + 100 * 3


@pytest.mark.parametrize(
    ("max_bytes", "sizes"), [(1000, [5]), (60, [5]), (59, [2, 3]), (30, [1, 2, 2]), (19, [1] * 5), (1, [1] * 5)]
)
def test_members_are_split_but_never_refused(max_bytes: int, sizes: list[int]) -> None:
    groups = group_members(range(5), bytes_each=12, max_bytes=max_bytes)
    assert [i for group in groups for i in group] == list(range(5))
    assert [len(group) for group in groups] == sizes


def test_no_members_give_no_groups() -> None:
    assert group_members([], bytes_each=1, max_bytes=1) == []


def test_examples_are_split_so_that_each_group_fits() -> None:
    largest = max(COSTS.of([example], n_virtual=3) for example in TRAIN)
    groups = group_examples(TRAIN, costs=COSTS, n_virtual=3, max_bytes=2 * largest)
    assert [example for group in groups for example in group] == TRAIN
    assert len(groups) > 1
    assert all(COSTS.of(group, n_virtual=3) <= 2 * largest for group in groups)
    alone = group_examples(examples(4, seed=1), costs=COSTS, n_virtual=3, max_bytes=1)
    assert [len(group) for group in alone] == [1] * 4


def test_checkpointing_and_frozen_layers_cost_less() -> None:
    model = hosted()
    whole = costs_of(model, first_layer=0, gradient_checkpointing=False).bytes_per_token
    assert costs_of(model, first_layer=2, gradient_checkpointing=False).bytes_per_token == pytest.approx(
        whole / 3, abs=1
    )
    assert costs_of(model, first_layer=0, gradient_checkpointing=True).bytes_per_token < whole / 2


def test_a_forward_has_a_share_of_the_host_and_not_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "host_memory_bytes", lambda: 1 << 40)
    assert forward_bytes(hosted(), share=0.5) == 1 << 37
    assert forward_bytes(hosted(), share=0.25) == 1 << 36


def test_on_a_device_the_weights_are_subtracted_from_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    model = hosted()
    n_bytes = sum(parameter.numel() * 4 for parameter in model.module.parameters())
    assert weights_bytes(model) == n_bytes
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=10 * n_bytes))
    device = SimpleNamespace(device=SimpleNamespace(type="cuda"), module=SimpleNamespace(parameters=lambda: iter(())))
    assert forward_bytes(cast(HostedModel, device), share=0.5) == int(0.5 * 5 * n_bytes)
    assert memory._device_bytes(5 * n_bytes, weights_bytes=n_bytes) == 0.5 * 4 * n_bytes
    # The weights take the whole share: what is left is small, and members are split into more forwards.
    assert memory._device_bytes(n_bytes, weights_bytes=n_bytes) == n_bytes / 16
