"""The experiment with a client whose runs finish at once: its order, its time limit, and its continuation."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from promptatlas import Client
from rich.console import Console

from demo.distillation import conduct
from demo.distillation.conduct import Experiment
from demo.distillation.record import FILE, Record, WrongRecord, load_record
from demo.distillation.size import FULL, QUICK
from tests.demo.study.fake_runs import FakeClient, FakeRun, FakeRuns, members

ROW = {"output": " 4", "answers": ["4"], "finish_reason": "stop", "index": 0}


class TrainedRun(FakeRun):
    @property
    def prompts(self) -> list[str]:
        return [row["prompt"] for row in self._members()] if self.kind in ("tune", "distill") else []

    def read(self, path: str) -> bytes:
        if path == "members.json":
            return json.dumps(self._members()).encode()
        assert path == "evaluation.jsonl"
        if self.kind == "evaluate":
            return json.dumps({**ROW, "prompt": None}).encode()
        rows = [{**ROW, "member": row["name"], "stage": at} for row in self._members() for at in ("before", "after")]
        return "\n".join(map(json.dumps, rows)).encode()

    def _members(self) -> list[dict[str, Any]]:
        return [{**row, "name": row["prompt"], "seed": 0, "step": 2} for row in members(self.spec)]


@dataclass
class TrainedRuns(FakeRuns):
    def create(self, kind: str, spec: Any, *, name: str) -> FakeRun:
        self.made.append(TrainedRun(f"run-{len(self.made)}", kind, name, spec, self.seconds(name)))
        return self.made[-1]


@dataclass
class Uploads:
    names: list[str] = field(default_factory=list)

    def upload(self, name: str, *, records: Any) -> None:
        self.names.append(name)


def client_of(seconds: float = 1.0) -> FakeClient:
    client = FakeClient(runs=TrainedRuns(seconds=lambda _name: seconds))
    models = SimpleNamespace(get=lambda _name: SimpleNamespace(revision="r"))
    client.datasets, client.models = cast(Any, Uploads()), cast(Any, models)
    return client


@pytest.fixture(autouse=True)
def _without_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct, "evaluate_snapshots", lambda *_args, **_kwargs: [])
    monkeypatch.setattr(conduct, "measure_probes", lambda *_args, **_kwargs: [])
    monkeypatch.setattr(conduct, "read_map", lambda *_args, **_kwargs: {})


def experiment(
    client: FakeClient, *, output: Path, record: Record | None = None, minutes: float = 60, finish: bool = False
) -> Experiment:
    return Experiment(
        client=cast(Client, client),
        console=Console(file=io.StringIO()),
        record=record or Record(size=QUICK),
        count=len,
        save=lambda one: one.save(output),
        minutes=minutes,
        finish=finish,
        poll_s=0.0,
    )


def groups(client: FakeClient) -> list[str]:
    """The first word of each run's name, without repetitions of neighbours."""
    words = [run.name.split("-")[0] for run in client.runs.made]
    return [word for i, word in enumerate(words) if i == 0 or words[i - 1] != word]


def test_runs_follow_what_they_depend_on(tmp_path: Path) -> None:
    client = client_of()
    made = experiment(client, output=tmp_path)
    made.perform()
    assert groups(client)[2:] == ["context", "pilot", "source", "student", "baseline", "width", "layer"]
    assert made.record.rates == {"soft": 0.03}
    student = next(run for run in client.runs.made if run.name.startswith("student"))
    assert student.spec["optimizer"]["lr"] == 0.03
    sources = [run for run in client.runs.made if run.name.startswith("source")]
    assert [prior["prompts"] for prior in student.spec["priors"][1:]] == [run.prompts for run in sources]
    assert not made.record.left_out


def test_an_experiment_is_continued_from_its_record(tmp_path: Path) -> None:
    client = client_of()
    experiment(client, output=tmp_path).perform()
    kept = load_record(tmp_path, size=QUICK)
    assert kept is not None
    n_made = len(client.runs.made)
    missing = {name: done for name, done in kept.runs.items() if not name.startswith("student")}
    again = experiment(client, output=tmp_path, record=replace(kept, runs=missing))
    again.perform()
    assert len(client.runs.made) == n_made
    assert again.record.runs.keys() == kept.runs.keys()
    assert sorted(one.run for one in again.record.answers) == sorted(one.run for one in kept.answers)


def test_a_failed_run_is_resumed(tmp_path: Path) -> None:
    client = client_of()
    experiment(client, output=tmp_path).perform()
    client.runs.made[-1].status = "failed"
    kept = load_record(tmp_path, size=QUICK)
    assert kept is not None
    name = client.runs.made[-1].name.split()[0]
    runs = {one: done for one, done in kept.runs.items() if one != name}
    experiment(client, output=tmp_path, record=replace(kept, runs=runs)).perform()
    assert client.runs.made[-1].n_resumed == 1


def test_runs_beyond_the_limit_are_left_out_and_named(tmp_path: Path) -> None:
    client = client_of(seconds=60.0)
    made = experiment(client, output=tmp_path, minutes=6)
    made.perform()
    assert made.record.left_out
    assert not {run.name.split()[0] for run in client.runs.made} & set(made.record.left_out)
    spent_s = sum(done.seconds for done in made.record.runs.values()) / 2
    assert spent_s <= 6 * 60 + 60


def test_a_finish_starts_no_run(tmp_path: Path) -> None:
    client = client_of()
    experiment(client, output=tmp_path).perform()
    kept = load_record(tmp_path, size=QUICK)
    assert kept is not None
    n_made = len(client.runs.made)
    runs = {name: done for name, done in kept.runs.items() if not name.startswith("baseline")}
    finished = experiment(client, output=tmp_path, record=replace(kept, runs=runs), finish=True)
    finished.perform()
    assert len(client.runs.made) == n_made
    assert finished.record.left_out == ["baseline-curriculum", "baseline-wrong"]


def test_further_methods_follow_all_runs_of_soft_prompts(tmp_path: Path) -> None:
    client = client_of()
    size = replace(QUICK, methods=("soft", "prefix"), rates={**QUICK.rates, "prefix": (0.01, 0.05)})
    made = experiment(client, output=tmp_path, record=Record(size=size))
    made.perform()
    assert groups(client)[-2:] == ["pilot", "student"]
    assert made.record.rates == {"soft": 0.03, "prefix": 0.05}


def test_a_record_of_another_size_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert load_record(tmp_path, size=QUICK) is None
    Record(size=FULL).save(tmp_path)
    with pytest.raises(WrongRecord, match="expected an experiment of this size"):
        load_record(tmp_path, size=QUICK)
    (tmp_path / FILE).write_text('{"runs": 1}', encoding="utf-8")
    with pytest.raises(WrongRecord, match="cannot be read"):
        load_record(tmp_path, size=QUICK)
