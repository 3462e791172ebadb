"""Members that finish, stop early, roll back or diverge, without effect on the other members."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from service.errors import InvalidRequest
from tests.workers.tuning.small_training import (
    FORMS,
    TRAIN,
    VALIDATION,
    are_equal,
    assert_close,
    hosted,
    members,
    run,
    settings,
    trainer,
)
from tests.workers.tuning.training.test_forward import loss_by_compiling
from workers.tuning.training.member import COPY_EVERY, MAX_FAILURES
from workers.tuning.training.settings import LogProb, Member, TuneSettings
from workers.tuning.training.step_report import MemberReport, StepReport
from workers.tuning.training.trainer import Trainer

SOFT = FORMS["soft"]


def failing(at: Mapping[int, float] | None = None, *, ever_from: int | None = None) -> LogProb:
    """A log density of 0 whose gradient is not finite at some calls, counted from 1."""
    n_calls = 0

    def log_prob(tensors: Mapping[str, Tensor]) -> Tensor:
        nonlocal n_calls
        n_calls += 1
        factor = (at or {}).get(n_calls, 0.0)
        if ever_from is not None and n_calls >= ever_from:
            factor = math.nan
        return factor * tensors["soft"].sum()

    return log_prob


def reports_of(trained: Trainer) -> list[StepReport]:
    found = []
    while not trained.finished:
        found.append(trained.step())
    return found


def of(report: StepReport, name: str) -> MemberReport:
    return next(member for member in report.members if member.name == name)


def test_a_failure_rolls_its_member_back_and_lowers_its_rate() -> None:
    team, chosen = members(SOFT), settings(SOFT, steps=COPY_EVERY + 9, regularize_weight=1.0, schedule="constant")
    at = COPY_EVERY + 4
    sick = replace(team[1], prior_log_prob=failing({at: math.nan}))
    trained = trainer([team[0], sick, team[2]], chosen)
    reports = [trained.step() for _ in range(at - 1)]
    good = trainer(team, chosen)
    run(good, until=COPY_EVERY)
    reports.append(trained.step())
    assert_close(trained.tensors(1), good.tensors(1))
    report = of(reports[-1], "m1")
    assert report.status == "running"
    assert report.note is not None
    assert "not finite" in report.note
    assert reports[-1].notes == (f"m1: {report.note}",)
    assert not any(report.notes for report in reports[:-1])
    assert of(trained.step(), "m1").lr == pytest.approx(team[1].lr / 2)
    run(trained)
    healthy = run(trainer(team, chosen))
    for i in (0, 2):
        assert_close(trained.tensors(i), healthy.tensors(i))
    assert trained.outcome(1).status == "finished"


def test_a_member_that_keeps_failing_diverges_with_its_last_good_vectors() -> None:
    team, chosen = members(SOFT), settings(SOFT, steps=COPY_EVERY + 20, regularize_weight=1.0)
    sick = replace(team[1], prior_log_prob=failing(ever_from=COPY_EVERY + 3))
    trained = trainer([team[0], sick, team[2]], chosen)
    reports = reports_of(trained)
    diverged_at = next(report.step for report in reports if of(report, "m1").status == "diverged")
    assert diverged_at == COPY_EVERY + 2 + MAX_FAILURES
    assert of(reports[diverged_at], "m1").loss is None
    assert trained.outcome(1).status == "diverged"
    # The first failure restores the copy after 20 steps; later ones restore the draw.
    assert are_equal(trained.result(1), sick.start)
    healthy = run(trainer(team, chosen))
    for i in (0, 2):
        assert_close(trained.tensors(i), healthy.tensors(i))


def test_an_overflow_does_not_reach_the_result() -> None:
    team = members(SOFT, rates=(1e-2, 1e37))
    trained = run(trainer(team, settings(SOFT, steps=12, schedule="constant", warmup=0.0)))
    assert all(bool(t.isfinite().all()) for t in trained.result(1).values())
    alone = run(trainer(team[:1], settings(SOFT, steps=12, schedule="constant", warmup=0.0)))
    assert_close(trained.result(0), alone.result(0))


def test_members_stop_when_their_validation_loss_no_longer_falls() -> None:
    team = members(SOFT, rates=(1e-2, 1e-9))
    chosen = settings(SOFT, steps=30, eval_every=3, patience=2, min_delta=1e-4)
    trained = trainer(team, chosen, validation=VALIDATION)
    reports = reports_of(trained)
    # The first validation loss is the best so far; two more do not improve on it.
    assert next(report.step for report in reports if of(report, "m1").status == "stopped") == 9
    assert [of(report, "m0").status for report in reports[:9]] == ["running"] * 9
    assert trained.outcome(1).status == "stopped"
    alone = trainer(team[:1], chosen, validation=VALIDATION)
    assert_close(run(trained).tensors(0), run(alone).tensors(0))


def test_without_patience_or_validation_no_member_stops() -> None:
    still = members(SOFT, rates=(1e-9,))
    for chosen, validation in (
        (settings(SOFT, steps=8, eval_every=1), VALIDATION),
        (settings(SOFT, steps=8, patience=1), ()),
    ):
        trained = run(trainer(still, chosen, validation=validation))
        assert trained.step_number == 8
        assert trained.outcome(0).status == "finished"


def test_validation_losses_equal_those_of_the_served_prompt() -> None:
    team = members(SOFT, rates=(1e-2, 2e-2))
    trained = trainer(team, settings(SOFT, steps=4, eval_every=2), validation=VALIDATION)
    before = trained.validation_losses()
    reports = reports_of(trained)
    assert [of(report, "m0").validation_loss is not None for report in reports] == [False, True, False, True]
    n_answers = sum(len(example.target_ids) for example in VALIDATION)
    for i, member in enumerate(team):
        for tensors, got in (
            (member.start, before[f"m{i}"]),
            (trained.tensors(i), of(reports[-1], f"m{i}").validation_loss),
        ):
            expected = loss_by_compiling(hosted(), SOFT, tensors, list(VALIDATION)) / n_answers
            assert got == pytest.approx(float(expected), rel=1e-5)


def test_the_result_is_the_best_or_the_last() -> None:
    team = members(SOFT, rates=(1e-2, 0.6))  # the loss of the second one varies strongly
    for keep in ("best", "last"):
        chosen = settings(SOFT, steps=24, eval_every=4, keep=keep, snapshots=6, schedule="constant")
        trained = trainer(team, chosen, validation=VALIDATION)
        reports = reports_of(trained)
        for i in range(2):
            losses = {r.step: loss for r in reports if (loss := of(r, f"m{i}").validation_loss) is not None}
            best = min(losses, key=lambda step: losses[step])
            step = best if keep == "best" else 24
            assert trained.outcome(i).step == step
            assert are_equal(trained.result(i), trained.snapshots(i)[step])
            if keep == "best":
                assert trained.outcome(i).validation_loss == losses[best]
    assert best < 24


def test_snapshots_are_evenly_spaced() -> None:
    trained = trainer(members(SOFT), settings(SOFT, steps=10, snapshots=4))
    at = {trained.step().step: trained.tensors(0) for _ in range(10)}
    assert sorted(trained.snapshots(0)) == [2, 5, 8, 10]
    assert all(are_equal(copy, at[step]) for step, copy in trained.snapshots(0).items())


def test_accumulated_parts_equal_the_batch() -> None:
    whole = run(trainer(members(SOFT), settings(SOFT, steps=12)))
    for parts in (4, 100):
        cut = run(trainer(members(SOFT), settings(SOFT, steps=12, accumulate=parts)))
        for i in range(3):
            assert_close(cut.tensors(i), whole.tensors(i))


@pytest.mark.parametrize("name", ["soft", "deep-local", "deep-carried", "prefix-reparametrised"])
def test_a_memory_limit_does_not_change_results(name: str) -> None:
    team, chosen = members(FORMS[name]), settings(FORMS[name], steps=2, gradient_checkpointing=True)
    ample = run(trainer(team, chosen, validation=VALIDATION))
    scarce = run(trainer(team, chosen, validation=VALIDATION, max_bytes=1))
    for i in range(3):
        assert_close(scarce.tensors(i), ample.tensors(i))
    for loss, expected in zip(scarce.validation_losses().values(), ample.validation_losses().values(), strict=True):
        assert loss == pytest.approx(expected, rel=1e-5)


def test_the_penalty_pulls_towards_the_prior() -> None:
    """With a weight that outweighs the data, vectors move to the mode of the prior."""
    centre = torch.full((5, hosted().d_model), 0.3)

    def log_prob(tensors: Mapping[str, Tensor]) -> Tensor:
        return -0.5 * (tensors["soft"] - centre).square().sum()

    plain = members(SOFT, rates=(0.2,))
    team = [replace(plain[0], prior_log_prob=log_prob)]
    chosen = settings(SOFT, steps=80, regularize_weight=1e4, schedule="linear", batch_size=1, clip=None)
    pulled = run(trainer(team, chosen)).tensors(0)["soft"]
    assert float((pulled - centre).abs().max()) < 0.15
    free = run(trainer(team, replace(chosen, regularize_weight=0.0, steps=3)))
    unpenalised = run(trainer(plain, replace(chosen, regularize_weight=0.0, steps=3)))
    assert are_equal(free.tensors(0), unpenalised.tensors(0))


def test_the_penalty_is_per_value() -> None:
    def log_prob(tensors: Mapping[str, Tensor]) -> Tensor:
        return tensors["soft"].sum()

    team = members(SOFT, rates=(1.0,))
    chosen = settings(SOFT, steps=1, regularize_weight=1e6, clip=None, warmup=0.0)
    report = trainer([replace(team[0], prior_log_prob=log_prob)], chosen).step()
    n_values = team[0].start["soft"].numel()
    # The gradient is −w/n for each of n values.
    assert report.members[0].grad_norm == pytest.approx(1e6 / n_values * math.sqrt(n_values), rel=1e-3)


@pytest.mark.parametrize(
    ("team", "changes", "match"),
    [
        ([], {}, "expected members"),
        (members(FORMS["prefix"]), {}, "kind soft, got prefix"),
        ([*members(SOFT), Member(name="x", lr=1.0, start={"soft": torch.zeros(4, 56)})], {}, "one form"),
        ([Member(name="x", lr=1.0, start={"soft": torch.zeros(5, 55)})], {}, "expected shape"),
    ],
)
def test_invalid_members_are_refused(team: list[Member], changes: dict[str, object], match: str) -> None:
    chosen: TuneSettings = settings(SOFT, **changes)
    with pytest.raises(InvalidRequest, match=match):
        Trainer(hosted(), members=team, train=TRAIN, validation=(), settings=chosen, max_bytes=1 << 20)


def test_a_finished_trainer_does_not_step() -> None:
    trained = run(trainer(members(SOFT), settings(SOFT, steps=2)))
    with pytest.raises(RuntimeError, match="finished"):
        trained.step()


def test_a_step_counts_the_tokens_of_its_examples_for_each_updated_member() -> None:
    chosen = settings(SOFT, steps=2 * len(TRAIN), batch_size=1)  # two epochs
    trained = trainer(members(SOFT), chosen)
    n_tokens = sum(report.n_tokens for report in reports_of(trained))
    assert n_tokens == 2 * sum(len(e.input_ids) + len(e.target_ids) - 1 for e in TRAIN) * len(members(SOFT))
