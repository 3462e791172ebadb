"""A trainer restored at any step continues bitwise."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from torch import Tensor

from service.errors import InvalidRequest
from tests.workers.tuning.small_training import FORMS, TRAIN, VALIDATION, are_equal, members, run, settings, trainer
from workers.tuning.training.settings import Member, TuneSettings
from workers.tuning.training.trainer import Trainer

N_STEPS = 24


def make_trainer(name: str, **changes: object) -> Trainer:
    form = FORMS[name]
    chosen = settings(form, steps=N_STEPS, batch_size=2, eval_every=7, keep="best", snapshots=5, **changes)
    return trainer(members(form, rates=(1e-2, 3e-2)), chosen, validation=VALIDATION)


def assert_same(a: Trainer, b: Trainer) -> None:
    assert a.step_number == b.step_number
    for i in range(2):
        assert are_equal(a.tensors(i), b.tensors(i))
        assert are_equal(a.result(i), b.result(i))
        assert {**a.outcome(i).__dict__, "tensors": 0} == {**b.outcome(i).__dict__, "tensors": 0}
        assert list(a.snapshots(i)) == list(b.snapshots(i))
        assert all(are_equal(copy, b.snapshots(i)[step]) for step, copy in a.snapshots(i).items())
    assert a.state() == b.state()


@pytest.mark.parametrize("name", ["soft", "deep-local", "deep-carried", "prefix", "prefix-reparametrised"])
def test_a_restored_trainer_gives_bitwise_the_same_results(name: str) -> None:
    whole = make_trainer(name)
    states = {}
    while not whole.finished:
        if whole.step_number in (1, 7, 22):
            states[whole.step_number] = whole.state()
        whole.step()
    for step, state in states.items():
        restored = make_trainer(name)
        restored.load(state)
        assert restored.step_number == step
        assert restored.state() == state
        assert_same(run(restored), whole)


def test_a_training_with_failures_can_be_resumed_at_every_step() -> None:
    """States restore rollbacks, a diverged member and one that stopped early."""
    form = FORMS["soft"]
    chosen = settings(form, steps=26, eval_every=4, patience=3, regularize_weight=1.0, keep="best", batch_size=2)

    def team() -> list[Member]:
        plain = members(form, rates=(1e-2, 0.5, 1e-9))

        def log_prob(tensors: Mapping[str, Tensor]) -> Tensor:
            # The failure depends on the vectors, not on a count of calls, so a restored trainer has it too.
            total = tensors["soft"].sum()
            return total * (
                math.nan if float((tensors["soft"].detach() - plain[1].start["soft"]).abs().max()) > 0.06 else 0.0
            )

        return [plain[0], replace(plain[1], prior_log_prob=log_prob), plain[2]]

    whole = trainer(team(), chosen, validation=TRAIN[:5])
    states = []
    while not whole.finished:
        states.append(whole.state())
        whole.step()
    assert [whole.outcome(i).status for i in range(3)] == ["finished", "diverged", "stopped"]
    for state in states[7::8]:
        restored = trainer(team(), chosen, validation=TRAIN[:5])
        restored.load(state)
        assert run(restored).state() == whole.state()


def test_a_state_is_safetensors_and_json() -> None:
    state = run(make_trainer("soft"), until=3).state()
    assert sorted(state) == ["trainer.json", "trainer.safetensors"]
    assert json.loads(state["trainer.json"])["step_number"] == 3
    assert b"pickle" not in state["trainer.safetensors"]


@pytest.mark.parametrize(
    "changes", [{"data_seed": 1}, {"weight_decay": 0.5}, {"schedule": "cosine"}, {"accumulate": 2}]
)
def test_a_state_of_other_settings_is_refused(changes: dict[str, object]) -> None:
    state = run(make_trainer("soft"), until=2).state()
    with pytest.raises(InvalidRequest, match="another training"):
        make_trainer("soft", **changes).load(state)


def test_a_state_of_other_members_or_examples_is_refused() -> None:
    chosen: TuneSettings = settings(FORMS["soft"], steps=4)
    team = members(FORMS["soft"])
    state = trainer(team, chosen).state()
    with pytest.raises(InvalidRequest, match="members"):
        trainer(team[:2], chosen).load(state)
    with pytest.raises(InvalidRequest, match="members"):
        trainer([team[0], team[1], replace(team[2], lr=0.5)], chosen).load(state)


SETTINGS_OF_THE_FIRST_VERSION = {
    *(
        "kind",
        "where",
        "steps",
        "batch_size",
        "accumulate",
        "schedule",
        "warmup",
        "weight_decay",
        "clip",
        "betas",
        "eps",
    ),
    *("eval_every", "patience", "min_delta", "keep", "data_seed", "snapshots", "regularize_weight"),
    *("gradient_checkpointing", "d_reparametrised"),
}


def test_states_of_earlier_versions_are_restored() -> None:
    started = make_trainer("soft")
    started.step()
    names = set(json.loads(started.state()["trainer.json"])["settings"])
    assert names == SETTINGS_OF_THE_FIRST_VERSION
    frozen = make_trainer("soft", n_frozen=1)
    with pytest.raises(InvalidRequest, match="another training"):
        frozen.load(started.state())
