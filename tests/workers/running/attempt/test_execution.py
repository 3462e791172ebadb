"""Ends of attempts, on a store that can be made to fail."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pytest

from service.errors import Unavailable
from service.queueing.intervals import Intervals
from service.queueing.queue import RunQueue
from service.settings import ModelSource, Settings
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import LocalFiles
from service.store.runs.records import RunState
from service.store.runs.store import RunStore
from tests.service.queueing.redis_server import RedisServer
from workers.running.attempt.execution import execute_attempt
from workers.running.interface import RunContext, RunStopped
from workers.running.setup import WorkSetup
from workers.running.stop_signals import StopSignal, StopSignals

KINDS = {name: f"{__name__}:{name}" for name in ("done", "stopping", "quitting", "fails", "looks_around")}


class FullDisk(LocalFiles):
    """Files that raise the errors of a full disk while ``is_full`` is set."""

    is_full = False

    def create(self, key: str, data: bytes) -> None:
        if self.is_full:
            raise Unavailable("no room") from OSError(errno.ENOSPC, "no room")
        super().create(key, data)


def done(run: RunContext) -> Mapping[str, float]:
    run.made_prompt("qa@1")
    run.count("harvest_rows", 5)
    run.count("harvest_rows", 2)
    return {"loss": 0.5, "bad": float("nan")}


def stopping(run: RunContext) -> Mapping[str, float]:
    run.check()
    raise AssertionError("it was told to stop")


def quitting(run: RunContext) -> Mapping[str, float]:
    raise RunStopped


def fails(run: RunContext) -> Mapping[str, float]:
    disk = run.artifacts._files
    assert isinstance(disk, FullDisk)
    disk.is_full = True
    raise ValueError("all is lost\nsecond line")


def looks_around(run: RunContext) -> Mapping[str, float]:
    assert run.read_output("a.txt") is None
    run.save_output("a.txt", b"text")
    assert run.read_output("a.txt") == b"text"
    assert run.load_checkpoint() is None
    run.save_checkpoint({"x": b"1"})
    assert run.load_checkpoint() == {"x": b"1"}
    assert (run.attempt, run.name, dict(run.spec)) == (1, "mine", {"of": "kind"})
    assert run.datasets.list_datasets(limit=1, after=None) is not None
    with pytest.raises(Exception, match="no model 'other'; it has demo"):
        run.load_model("other")
    return {}


class Stage:
    def __init__(self, folder: Path, redis_url: str) -> None:
        self.disk = FullDisk(str(folder))
        self.artifacts = ArtifactStore(str(folder), files=self.disk)
        self.runs = RunStore(self.artifacts)
        self.setup = WorkSetup(
            settings=Settings(
                home=str(folder), redis_url=redis_url, models=(ModelSource(name="demo", path="/nowhere"),)
            ),
            kinds=KINDS,
            timing=Intervals(flush_s=0.01, retries_s=(0.01,)),
        )

    def tallied(self) -> dict[tuple[str, ...], float]:
        """What was counted, without histograms."""
        counted = RunQueue.at(self.setup.redis_url).tallies.read()
        plain = ("run_attempts", "runs_ended", "tuning_steps", "harvest_rows")
        return {(name, *one.labels): one.value for name in plain for one in counted[name]}

    def play(self, kind: str, *, order: StopSignal | None = None) -> RunState:
        stop_signals = StopSignals()
        stop_signals.received = order
        self.run_id = self.runs.create(kind, spec={"of": "kind"}, name="mine").id
        writer = self.runs.claim(self.run_id, worker="test")
        execute_attempt(writer, setup=self.setup, stop_signals=stop_signals, runs=self.runs, artifacts=self.artifacts)
        return self.runs.get(self.run_id)[1]


@pytest.fixture
def stage(tmp_path: Path, redis_server: RedisServer) -> Stage:
    redis_server.client.flushall()
    return Stage(tmp_path / "store", redis_server.url)


def test_the_return_value_of_the_work_is_the_metrics(stage: Stage) -> None:
    state = stage.play("done")
    assert (state.status, state.metrics, state.prompts) == ("succeeded", {"loss": 0.5}, ("qa@1",))
    assert stage.tallied() == {
        ("run_attempts", "done", "succeeded"): 1,
        ("runs_ended", "done", "succeeded"): 1,
        ("harvest_rows",): 7,
    }


def test_the_work_has_access_to_its_run(stage: Stage) -> None:
    state = stage.play("looks_around")
    assert (state.status, state.error) == ("succeeded", None)
    [saved] = RunQueue.at(stage.setup.redis_url).tallies.read()["checkpoint_seconds"]
    assert (saved.labels, saved.counts[-1]) == (("looks_around",), 1)


@pytest.mark.parametrize(("order", "status"), [(StopSignal.CANCEL, "cancelled"), (StopSignal.SHUTDOWN, "queued")])
def test_stop_signals_decide_the_status_of_a_run(stage: Stage, order: StopSignal, status: str) -> None:
    state = stage.play("stopping", order=order)
    assert (state.status, state.n_deaths) == (status, 0)
    outcome = "released" if status == "queued" else status
    ended = {} if status == "queued" else {("runs_ended", "stopping", status): 1}
    assert stage.tallied() == {("run_attempts", "stopping", outcome): 1, **ended}


def test_a_work_that_stops_without_a_signal_has_failed(stage: Stage) -> None:
    state = stage.play("quitting")
    assert state.status == "failed"
    assert "without a stop signal" in str(state.error)


def test_an_end_that_cannot_be_stored_keeps_its_reason_in_redis(stage: Stage) -> None:
    with pytest.raises(Unavailable, match="no room"):
        stage.play("fails")
    state = stage.runs.get(stage.run_id)[1]
    assert state.status == "running"
    assert stage.tallied() == {}  # the worker will find that its work horse has died
    words = RunQueue.at(stage.setup.redis_url).failure_reason(stage.run_id, 1)
    assert words == "The work failed unexpectedly: ValueError: all is lost"
