"""A timed study with a client whose runs finish at once: its order, its limit, and its continuation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import pytest
from promptatlas import Client
from rich.console import Console

from demo.study import schedule
from demo.study.calibration import LONG, N_MEMBERS, SHORT
from demo.study.conduct import TimedStudy, losses_by_rate
from demo.study.plan import Size
from demo.study.plans.smollm2 import FULL, LONGER, SMOLLM2, TINY
from demo.study.record import Record
from demo.study.runs import StudyRuns
from tests.demo.study.cards import card
from tests.demo.study.fake_runs import FakeClient, FakeRuns


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "POLL_S", 0.0)


def study(
    client: FakeClient,
    *,
    output: Path,
    record: Record | None = None,
    size: Size | None = TINY,
    steps: int | None = None,
    minutes: float = 300.0,
    saved: list[Record] | None = None,
    finish: bool = False,
) -> TimedStudy:
    kept: list[Record] = [] if saved is None else saved
    return TimedStudy(
        StudyRuns(cast(Client, client), Console(file=io.StringIO())),
        plan=SMOLLM2,
        card=card(),
        record=record or Record(plan="smollm2", size=size or FULL),
        size=size,
        steps=steps,
        minutes=minutes,
        finish=finish,
        output=output,
        save=kept.append,
    )


def names(client: FakeClient) -> list[str]:
    return [run.name.split()[0] for run in client.runs.made]


def test_runs_follow_each_other_and_the_rate_of_the_pilots_is_used(tmp_path: Path) -> None:
    client, saved = FakeClient(), list[Record]()
    made = study(client, output=tmp_path, saved=saved)
    assert made.perform().title == SMOLLM2.title
    first = [
        f"calibration-{SHORT}",
        f"calibration-{LONG}",
        "pilot-soft-arithmetic",
        "pilot-soft-squad",
        "pilot-deep-arithmetic",
        "soft-arithmetic",
    ]
    assert names(client)[:6] == first
    assert names(client)[-3:] == ["map-pca", "map-tsne", "findings"]
    assert made.record.rates == {"soft": 0.05, "deep": 0.05}
    assert saved[-1] == made.record
    specs = {run.name.split()[0]: run.spec for run in client.runs.made}
    assert specs["soft-squad-best"]["optimizer"]["lr"] == 0.05
    in_report = specs["findings"]["prompts"]
    assert in_report
    assert not [ref for ref in in_report if ref.startswith(("pilot", "calibration"))]
    assert made.record.runs["map-pca"].facts == {"n_points": 11.0}


def test_the_time_of_a_token_is_that_of_the_calibrations_steps(tmp_path: Path) -> None:
    seconds = {f"calibration-{SHORT}": 21.0, f"calibration-{LONG}": 27.0}
    made = study(FakeClient(FakeRuns(lambda name: seconds.get(name.split()[0], 1.0))), output=tmp_path)
    made.perform()
    n_tokens = N_MEMBERS * (TINY.batch_size * 5 + TINY.n_virtual)
    assert made.record.token_s == pytest.approx(6.0 / (LONG - SHORT) / n_tokens)


def test_a_study_that_was_interrupted_continues_with_its_size_and_rates(tmp_path: Path) -> None:
    client = FakeClient()
    whole = study(client, output=tmp_path)
    whole.perform()
    interrupted = study(client, output=tmp_path, record=whole.record)
    n_before = len(client.runs.made)
    interrupted.perform()
    assert names(client)[n_before:] == ["findings"]
    assert interrupted.record.size == whole.record.size


@pytest.mark.parametrize("n_done", [1, 4, 7])
def test_a_study_interrupted_after_some_runs_repeats_none(tmp_path: Path, n_done: int) -> None:
    class Interrupted(Exception):
        pass

    client, saved = FakeClient(), list[Record]()

    def save(record: Record) -> None:
        saved.append(record)
        if len(record.runs) == n_done:
            raise Interrupted

    first = study(client, output=tmp_path, size=None)
    first._save = save
    with pytest.raises(Interrupted):
        first.perform()
    assert len(client.runs.made) == n_done
    second = study(client, output=tmp_path, record=saved[-1], size=None)
    second.perform()
    tuned = [run.name for run in client.runs.made if run.kind == "tune"]
    assert len(set(tuned)) == len(tuned)


def test_runs_that_do_not_fit_are_left_out_and_recorded(tmp_path: Path) -> None:
    def seconds(name: str) -> float:
        return 60.0 * 290 if name.startswith("soft-squad ") else 1.0

    client = FakeClient(FakeRuns(seconds))
    made = study(client, output=tmp_path, size=None)
    made.perform()
    left_out = made.record.left_out
    assert "soft-arithmetic-longer" in left_out
    assert not set(left_out) & set(names(client))
    assert set(names(client)) | set(left_out) >= {"soft-squad", "deep-squad-best", "soft-arithmetic-slow"}


def test_a_given_number_of_steps_is_kept_and_what_does_not_fit_is_left_out(tmp_path: Path) -> None:
    seconds = {"calibration-2": 1.0, "calibration-20": 165.0, "soft-arithmetic": 1800.0}
    client = FakeClient(FakeRuns(lambda name: seconds.get(name.split()[0], 180.0)))
    made = study(client, output=tmp_path, size=None, steps=60, minutes=60.0)
    made.perform()
    tuned = [run.spec["optimizer"]["steps"] for run in client.runs.made if run.kind == "tune"]
    assert set(tuned) <= {SHORT, LONG, 60, LONGER * 60}
    assert {"pilot-soft-squad", "soft-squad"} <= set(made.record.left_out)
    assert {"pilot-soft-arithmetic", "pilot-deep-arithmetic", "soft-arithmetic"} <= set(names(client))
    assert len(made.record.left_out) == len(set(made.record.left_out))


def test_finish_reports_on_the_runs_that_exist(tmp_path: Path) -> None:
    client = FakeClient()
    made = study(client, output=tmp_path, finish=True)
    made.perform()
    assert "soft-arithmetic" not in names(client)
    assert "soft-arithmetic" in made.record.left_out
    assert names(client)[-1] == "findings"


def test_finish_cancels_what_an_earlier_session_left_unfinished(tmp_path: Path) -> None:
    client = FakeClient()
    study(client, output=tmp_path).perform()
    run = next(run for run in client.runs.made if run.name.startswith("soft-squad "))
    run.status = "running"
    study(client, output=tmp_path, finish=True).perform()
    assert run.status == "cancelled"


def test_a_failed_run_is_resumed(tmp_path: Path) -> None:
    client = FakeClient()
    study(client, output=tmp_path).perform()
    run = next(run for run in client.runs.made if run.name.startswith("soft-squad "))
    run.status, run.n_late = "failed", 1
    study(client, output=tmp_path).perform()
    assert run.n_resumed == 1


def test_rates_are_compared_by_their_mean_loss() -> None:
    def row(lr: float, **metrics: float) -> dict[str, Any]:
        return {"lr": lr, "metrics": {name.replace("_", "/"): value for name, value in metrics.items()}}

    first, second = (
        [row(0.1, validation_loss=1.0), row(1, validation_loss=2.0)],
        [row(0.1, validation_loss=4.0), row(1)],
    )
    assert losses_by_rate([first, second]) == {0.1: 2.5}
    with pytest.raises(ValueError, match="expected a validation loss of at least one rate"):
        losses_by_rate([[row(0.1)]])
