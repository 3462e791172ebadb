"""Tests of the recorders against the formats and interfaces that they write to."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboardX.proto import event_pb2

from workers.tuning.results.recorders import Recorders, RunIdentity, TensorBoard, outside_recorders

IDENTITY = RunIdentity(id="run-1", name="first", config={"model": "small"})


def scalars(data: bytes) -> list[tuple[str, int, float, float]]:
    """Name, step, value and time of the scalars in an event file: records of length, its CRC, the event, its CRC."""
    found, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
        found += [(v.tag, event.step, v.simple_value, event.wall_time) for v in event.summary.value]
        at += length + 16
    return found


class Known:
    """A recorder that keeps what it receives, and fails at a given step."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.steps: list[int] = []
        self.finished = False

    def record(self, step: int, *, member: str, values: Mapping[str, float], time_s: float) -> None:
        if step == self.fails_at:
            raise ConnectionError("gone")
        self.steps.append(step)

    def finish(self, metrics: Mapping[str, float]) -> None:
        self.finished = True


def test_tensorboard_has_one_event_file_per_member() -> None:
    kept: dict[str, bytes] = {}
    board = TensorBoard(keep=kept.__setitem__)
    board.record(0, member="a", values={"loss": 4.0}, time_s=50.0)
    board.record(5, member="a", values={"loss": 2.0, "lr": 0.5}, time_s=60.0)
    board.record(5, member="b", values={"loss": 3.0}, time_s=61.0)
    board.finish({"test/f1": 1.0})
    assert set(kept) == {f"tensorboard/{member}/events.out.tfevents.0" for member in "ab"}
    assert scalars(kept["tensorboard/a/events.out.tfevents.0"]) == [
        ("loss", 0, 4.0, 50.0),
        ("loss", 5, 2.0, 60.0),
        ("lr", 5, 0.5, 60.0),
    ]
    assert scalars(kept["tensorboard/b/events.out.tfevents.0"]) == [("loss", 5, 3.0, 61.0)]


def test_a_failing_recorder_is_removed_and_the_others_continue() -> None:
    sound, broken, warnings = Known(), Known(fails_at=2), list[str]()
    recorders = Recorders({"broken": broken, "sound": sound}, warn=warnings.append)
    for step in (1, 2, 3):
        recorders.record(step, member="a", values={"loss": 1.0}, time_s=0.0)
    recorders.finish({})
    assert (sound.steps, sound.finished) == ([1, 2, 3], True)
    assert (broken.steps, broken.finished) == ([1], False)
    assert warnings == ["broken no longer records this run: ConnectionError: gone"]


def test_without_configuration_there_are_no_external_recorders() -> None:
    assert outside_recorders(IDENTITY, environ={"WANDB_API_KEY": ""}, warn=pytest.fail) == {}


def test_a_configured_service_that_cannot_be_used_gives_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    warnings: list[str] = []
    assert outside_recorders(IDENTITY, environ={"WANDB_API_KEY": "k"}, warn=warnings.append) == {}
    assert len(warnings) == 1
    assert "configured by WANDB_API_KEY" in warnings[0]


def installed(monkeypatch: pytest.MonkeyPatch, name: str, **members: Callable[..., Any]) -> None:
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


def test_weights_and_biases_resumes_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[dict[str, float]] = []
    axes: list[tuple[str, str]] = []
    summary: dict[str, float] = {}
    ends: list[str] = []
    received: dict[str, Any] = {}

    def init(**options: Any) -> Any:
        received.update(options)
        return SimpleNamespace(
            log=logged.append,
            define_metric=lambda name, step_metric: axes.append((name, step_metric)),
            summary=summary,
            finish=lambda: ends.append("end"),
        )

    installed(monkeypatch, "wandb", init=init)
    environ = {"WANDB_API_KEY": "k", "WANDB_PROJECT": "mine"}
    (recorder,) = outside_recorders(IDENTITY, environ=environ, warn=pytest.fail).values()
    recorder.record(3, member="a", values={"loss": 1.5}, time_s=9.0)
    recorder.record(1, member="b", values={"loss": 2.5}, time_s=9.5)
    recorder.finish({"test/f1": 0.5})
    assert received == {
        "project": "mine",
        "id": "run-1",
        "name": "first",
        "resume": "allow",
        "config": {"model": "small"},
    }
    assert logged == [{"a/loss": 1.5, "step": 3}, {"b/loss": 2.5, "step": 1}]
    assert (axes, summary, ends) == ([("*", "step")], {"test/f1": 0.5}, ["end"])


class MlflowServer:
    """The part of ``MlflowClient`` that the recorder uses."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, str]] = {}
        self.metrics: list[tuple[str, str, float, int | None, int | None]] = []
        self.ended: list[str] = []
        self.experiment: str | None = None

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="e1") if self.experiment == name else None

    def create_experiment(self, name: str) -> str:
        self.experiment = name
        return "e1"

    def search_runs(self, experiments: list[str], filter_string: str) -> list[Any]:
        assert experiments == ["e1"]
        wanted = filter_string.split("'")[1]
        return [
            SimpleNamespace(info=SimpleNamespace(run_id=i)) for i, tags in self.runs.items() if wanted in tags.values()
        ]

    def create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> Any:
        self.runs[f"m{len(self.runs)}"] = tags
        return SimpleNamespace(info=SimpleNamespace(run_id=f"m{len(self.runs) - 1}"))

    def log_metric(
        self, run_id: str, name: str, value: float, timestamp: int | None = None, step: int | None = None
    ) -> None:
        self.metrics.append((run_id, name, value, timestamp, step))

    def set_terminated(self, run_id: str) -> None:
        self.ended.append(run_id)


def test_mlflow_finds_the_run_of_an_earlier_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    server = MlflowServer()
    addresses: list[str] = []

    def client(tracking_uri: str) -> MlflowServer:
        addresses.append(tracking_uri)
        return server

    installed(monkeypatch, "mlflow", MlflowClient=client)
    environ = {"MLFLOW_TRACKING_URI": "http://there"}
    outside_recorders(IDENTITY, environ=environ, warn=pytest.fail)
    (recorder,) = outside_recorders(IDENTITY, environ=environ, warn=pytest.fail).values()
    recorder.record(3, member="a", values={"loss": 1.5}, time_s=9.0)
    recorder.finish({"test/f1": 0.5})
    assert addresses == ["http://there"] * 2
    assert list(server.runs) == ["m0"]
    assert server.metrics == [("m0", "a/loss", 1.5, 9000, 3), ("m0", "test/f1", 0.5, None, None)]
    assert server.ended == ["m0"]
