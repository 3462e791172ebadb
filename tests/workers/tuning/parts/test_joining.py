from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from service.errors import InvalidRequest
from tests.workers.tuning.small_training import FORMS, VALIDATION, are_equal, members, run, settings, trainer
from workers.tuning.parts.joining import join_parts
from workers.tuning.training.settings import Member
from workers.tuning.training.state import join_states
from workers.tuning.training.trainer import Trainer
from workers.tuning.training_loop import CURVES

FORM = FORMS["deep-carried-from-embeddings"]
TEAM = members(FORM, rates=(1e-2, 3e-2, 5e-3))


def trained(team: Sequence[Member], **changes: object) -> Trainer:
    chosen = settings(FORM, steps=24, batch_size=2, eval_every=7, keep="best", snapshots=5, **changes)
    return trainer(team, chosen, validation=VALIDATION)


def test_the_joined_state_of_parts_is_theirs() -> None:
    parts = [run(trained(TEAM[:2])), run(trained(TEAM[2:]))]
    whole = trained(TEAM)
    whole.load(join_states([part.state() for part in parts]))
    assert (whole.finished, whole.step_number) == (True, 24)
    for i, (part, own) in enumerate([(0, 0), (0, 1), (1, 0)]):
        of_part = parts[part]
        assert are_equal(whole.tensors(i), of_part.tensors(own))
        assert are_equal(whole.result(i), of_part.result(own))
        assert {**whole.outcome(i).__dict__, "tensors": 0} == {**of_part.outcome(own).__dict__, "tensors": 0}
        assert list(whole.snapshots(i)) == list(of_part.snapshots(own))
        assert all(are_equal(copy, of_part.snapshots(own)[step]) for step, copy in whole.snapshots(i).items())


def test_a_part_that_ended_early_has_fewer_steps() -> None:
    early = {"patience": 1, "min_delta": 100.0}
    parts = [run(trained(TEAM[:1], **early)), run(trained(TEAM[1:], **early))]
    whole = trained(TEAM, **early)
    whole.load(join_states([part.state() for part in parts]))
    assert whole.finished
    assert whole.step_number == max(part.step_number for part in parts) < 24


def test_parts_of_other_members_are_refused() -> None:
    state = join_states([run(trained(TEAM[:2])).state()])
    with pytest.raises(InvalidRequest, match="another training"):
        trained(TEAM).load(state)


def test_points_are_in_the_order_of_one_training() -> None:
    def curves(*points: tuple[int, str], losses: dict[str, list[float]] | None = None) -> bytes:
        return json.dumps({"losses": losses or {}, "points": [{"step": s, "member": m} for s, m in points]}).encode()

    states = [run(trained(TEAM[:1])).state(), run(trained(TEAM[1:2])).state()]
    joined = join_parts(
        [
            {**states[0], CURVES: curves((1, "a"), (3, "a"), losses={"a": [1.5]})},
            {**states[1], CURVES: curves((1, "b"), (2, "b"), (3, "b"))},
        ],
        first_points={CURVES: curves((0, "a"), (0, "b"))},
    )
    found = json.loads(joined[CURVES])
    steps = [(point["step"], point["member"]) for point in found["points"]]
    assert steps == [(0, "a"), (0, "b"), (1, "a"), (1, "b"), (2, "b"), (3, "a"), (3, "b")]
    assert found["losses"] == {"a": [1.5]}
