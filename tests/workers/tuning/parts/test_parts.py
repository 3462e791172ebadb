"""Runs whose members are divided into parts: results do not depend on who trains them, or how often that is interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from service.errors import Conflict
from tests.workers.evaluation.fake_run import FakeRun, Killed
from tests.workers.tuning.parts.helped_run import (
    N_MEMBERS,
    contents,
    divide_small_runs,
    finish,
    help_tune,
    part_files,
    steps_of,
    with_helpers,
)
from tests.workers.tuning.small_run import SPEC, make_run
from tests.workers.tuning.test_work_resumed import FORMS, assert_same_results
from workers.running.interface import RunStopped
from workers.tuning.parts import sharing
from workers.tuning.parts.plan import PlanFile
from workers.tuning.run import tune

N_STEPS = SPEC["optimizer"]["steps"]
MANY: Mapping[str, Mapping[str, Any]] = {
    **FORMS,
    "steering": {**FORMS["steering"], "seeds": [0, 1, 2]},
    "prefix": {**FORMS["prefix"], "seeds": [0, 1]},
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    """A divided run that one worker performs without interruption."""
    with pytest.MonkeyPatch.context() as patch:
        divide_small_runs(patch)
        return finish(make_run(tmp_path_factory.mktemp("alone")))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    divide_small_runs(monkeypatch)
    monkeypatch.setattr(sharing, "LOOK_INTERVAL_S", 0.0)


@pytest.mark.parametrize("form", MANY)
def test_parts_give_the_results_of_one_training(
    form: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    divided = finish(make_run(tmp_path, **MANY[form]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.tuning.run.divide", lambda n_members, **_: (tuple(range(n_members)),))
        together = finish(make_run(tmp_path_factory.mktemp("together"), **MANY[form]))
    assert PlanFile(divided.artifacts, run_id=divided.run_id).load() is not None
    assert PlanFile(together.artifacts, run_id=together.run_id).load() is None
    assert (divided.made, set(divided.outputs)) == (together.made, set(together.outputs))
    assert divided.points.keys() == together.points.keys()
    for ref, content in contents(divided).items():
        expected = load(contents(together)[ref])
        for name, tensor in load(content).items():
            np.testing.assert_allclose(tensor, expected[name], atol=1e-5, rtol=0)
    assert divided.metrics == pytest.approx(together.metrics, abs=1e-5)


def test_the_last_checkpoint_is_that_of_all_members_and_parts_are_removed(alone: FakeRun) -> None:
    assert part_files(alone) == []
    again = alone.again()
    assert finish(again).made == alone.made
    assert steps_of(again) == 0


def test_progress_counts_the_steps_of_all_parts(alone: FakeRun) -> None:
    n_total = N_MEMBERS * N_STEPS + N_MEMBERS * N_STEPS // 10
    assert {total for _, total in alone.steps} == {n_total}
    steps = [step for step, _ in alone.steps]
    assert steps == sorted(steps)
    assert steps[-1] == n_total


def test_a_helper_gives_the_same_bits(alone: FakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    helpers = with_helpers(run, help_tune)
    assert_same_results(finish(run), alone)
    (helper,) = helpers.came
    # The helper comes before the first part of this worker, and takes all.
    assert (steps_of(run), steps_of(helper)) == (0, N_MEMBERS * N_STEPS)
    assert helpers.withdrawn
    assert "Other workers trained" in run.logs[-2][1]
    assert (helper.outputs, helper.points, helper.logs, helper.made, helper.checkpoint) == ({}, {}, [], [], None)


@pytest.mark.parametrize("kill_at", [3, 9, 20, 33])
def test_a_part_of_a_killed_helper_goes_on_from_its_checkpoint(alone: FakeRun, tmp_path: Path, kill_at: int) -> None:
    run = make_run(tmp_path)
    helpers = with_helpers(run, help_tune, kill_at=kill_at)
    assert_same_results(finish(run), alone)
    (helper,) = helpers.came
    n_lost = steps_of(run) + steps_of(helper) - N_MEMBERS * N_STEPS
    assert 0 <= n_lost < SPEC["checkpoint_every"]
    assert steps_of(helper) > 0


def test_a_helper_leaves_within_a_part_when_a_run_waits(alone: FakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    # A helper looks once before its first part, then after each checkpoint.
    helpers = with_helpers(run, help_tune, needed_after=2)
    assert_same_results(finish(run), alone)
    (helper,) = helpers.came
    assert steps_of(helper) == 2 * SPEC["checkpoint_every"]
    assert steps_of(run) == N_MEMBERS * N_STEPS - steps_of(helper)


@pytest.mark.parametrize("kill_after", [4, 14, 30, 51, 52])
def test_a_killed_run_goes_on_with_the_part_that_was_interrupted(
    alone: FakeRun, tmp_path: Path, kill_after: int
) -> None:
    run = make_run(tmp_path)
    run.kill_after = kill_after
    with pytest.raises(Killed):
        tune(run)
    again = finish(run.again())
    assert_same_results(again, alone)
    n_lost = steps_of(run) + steps_of(again) - N_MEMBERS * N_STEPS
    assert 0 <= n_lost < SPEC["checkpoint_every"]


def test_a_run_stopped_many_times_gives_the_same_results(alone: FakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, checkpoint_every=1000)
    n_steps, n_attempts = 0.0, 0
    while not run.metrics:
        # Evaluation saves nothing, so an attempt with nothing left to train may not be stopped.
        run.stop_at = 9 if n_steps < N_MEMBERS * N_STEPS else None
        n_attempts += 1
        try:
            finish(run)
        except RunStopped:
            n_steps += steps_of(run)
            run = run.again()
        assert n_attempts < 100
    # A stopped worker saves its part, so no step is made twice.
    assert n_steps + steps_of(run) == N_MEMBERS * N_STEPS
    # The notes of the prompts have the spec, whose checkpoint_every differs.
    expected = contents(alone)
    assert contents(run).keys() == expected.keys()
    for ref, content in contents(run).items():
        tensors, others = load(content), load(expected[ref])
        assert tensors.keys() == others.keys()
        assert all(np.array_equal(values, others[name]) for name, values in tensors.items())


def test_points_of_a_helper_are_reported_while_this_worker_trains(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    # The second helper comes within the first part of this worker. It trains the second part, and dies within the third.
    with_helpers(run, lambda place: None, help_tune, lingers=10, kill_at=20)
    order: list[str | None] = []
    report = run.metric

    def metric(step: int, *, member: str | None = None, **values: float) -> None:
        if step > 0:
            order.append(member)
        report(step, member=member, **values)

    run.metric = metric  # type: ignore[method-assign]
    finish(run)
    last_of_own = len(order) - 1 - order[::-1].index("wording-vocabulary-0")
    assert {"wording-vocabulary-7", "wording-isotropic-0"} <= set(order[:last_of_own])
    assert order.count("wording-isotropic-0") == N_STEPS


def test_a_run_that_was_begun_in_one_part_stays_in_one(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = make_run(tmp_path)
    run.kill_after = 7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.tuning.run.divide", lambda n_members, **_: (tuple(range(n_members)),))
        with pytest.raises(Killed):
            tune(run)
        together = finish(make_run(tmp_path_factory.mktemp("together")))
    again = finish(run.again())
    assert PlanFile(again.artifacts, run_id=again.run_id).load() is None
    assert_same_results(again, together)


def test_particles_that_interact_stay_in_one_part(tmp_path: Path) -> None:
    run = finish(make_run(tmp_path, priors=[{"kind": "isotropic"}], posterior={"method": "svgd"}))
    assert PlanFile(run.artifacts, run_id=run.run_id).load() is None


@pytest.mark.parametrize("method", ["ensemble", "sgld", "laplace"])
def test_other_posteriors_are_divided(method: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    options: dict[str, Any] = {"laplace": {"rank": 3, "draws": 5, "n_examples": 20}, "sgld": {"burn_in": 3, "thin": 2}}
    changes = {"priors": [{"kind": "isotropic"}], "posterior": {"method": method, **options.get(method, {})}}
    run = make_run(tmp_path, **changes)
    helpers = with_helpers(run, help_tune)
    finish(run)
    assert steps_of(helpers.came[0]) > 0
    divided_alone = finish(make_run(tmp_path_factory.mktemp("alone"), **changes))
    stored = [one.prompts.resolve(one.made[0], allows_posterior=True).sha256 for one in (run, divided_alone)]
    assert stored[0] == stored[1]
    assert run.metrics == divided_alone.metrics


def test_help_with_an_undivided_run_does_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    help_tune(run)
    assert steps_of(run) == 0


def test_a_helper_with_other_data_or_precision_declines(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.kill_after = 3
    with pytest.raises(Killed):
        tune(run)
    file = PlanFile(run.artifacts, run_id=run.run_id)
    plan = file.load()
    assert plan is not None
    helper = run.again()
    file.save(type(plan)(parts=plan.parts, device="cuda", dtype=plan.dtype, n_threads=plan.n_threads))
    with pytest.raises(Conflict, match="Expected a worker with cuda"):
        help_tune(helper)
    assert steps_of(helper) == 0
