"""A client whose runs finish after some refreshes, for tests of studies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from promptatlas import TimedOutError
from promptatlas.types import Progress, Report

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def members(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``members.json`` of a run; the loss is smallest at the rate 0.05."""
    lr = spec["optimizer"]["lr"]
    rates = lr if isinstance(lr, list) else [lr]
    return [
        {
            "prompt": f"{spec['name']}-{i}-{seed}-{rate:g}@1",
            "lr": rate,
            "prior": prior,
            "metrics": {"validation/loss": abs(rate - 0.05)},
        }
        for i, prior in enumerate(spec["priors"])
        for seed in spec["seeds"]
        for rate in rates
    ]


@dataclass
class FakeRun:
    id: str
    kind: str
    name: str
    spec: Mapping[str, Any]
    seconds: float
    status: str = "queued"
    n_resumed: int = 0
    n_late: int = 2
    attempts: int = 1
    progress: Progress = field(default_factory=Progress)

    @property
    def prompts(self) -> list[str]:
        return [row["prompt"] for row in members(self.spec)] if self.kind == "tune" else []

    @property
    def outcome(self) -> dict[str, float]:
        return {"n_points": 11.0}

    @property
    def info(self) -> SimpleNamespace:
        ended = START + timedelta(seconds=self.seconds) if self.ended else None
        return SimpleNamespace(started_at=START, ended_at=ended, attempts=self.attempts)

    @property
    def ended(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")

    def cancel(self) -> FakeRun:
        self.status = "cancelled"
        return self

    def resume(self) -> FakeRun:
        self.n_resumed += 1
        self.status = "queued"
        return self

    def wait(self, *, progress: bool, timeout_s: float | None = None) -> FakeRun:
        assert self.status != "failed"
        if timeout_s is not None and self.n_late:
            self.n_late -= 1
            raise TimedOutError("still running", connecting=False)
        self.status = "succeeded"
        return self

    def refresh(self) -> FakeRun:
        if not self.ended and self.n_late == 0:
            self.status = "succeeded"
        self.n_late = max(0, self.n_late - 1)
        return self

    def read(self, path: str) -> bytes:
        assert path == "members.json"
        return json.dumps(members(self.spec)).encode()

    def report(self) -> SimpleNamespace:
        return SimpleNamespace(info=Report(title=str(self.spec["title"]), model="m", revision="r", findings=[]))

    def download_all(self, to: Path) -> None:
        (to / "report.json").write_text("{}")


@dataclass
class FakeRuns:
    seconds: Callable[[str], float] = lambda _name: 1.0
    made: list[FakeRun] = field(default_factory=list)

    def get(self, run_id: str) -> FakeRun:
        return next(run for run in self.made if run.id == run_id)

    def list(self, *, kind: str) -> list[FakeRun]:
        return [run for run in self.made if run.kind == kind]

    def create(self, kind: str, spec: Mapping[str, Any], *, name: str) -> FakeRun:
        self.made.append(FakeRun(f"run-{len(self.made)}", kind, name, spec, self.seconds(name)))
        return self.made[-1]


class FakeDatasets:
    def peek(self, _name: str, *, split: str, limit: int) -> SimpleNamespace:
        return SimpleNamespace(data=[SimpleNamespace(text=None, input="a b c", target="d")])


class FakeModels:
    def tokenize(self, _model: str, *, prompt: str) -> SimpleNamespace:
        return SimpleNamespace(count=len(prompt.split()))


@dataclass
class FakeClient:
    runs: FakeRuns = field(default_factory=FakeRuns)
    datasets: FakeDatasets = field(default_factory=FakeDatasets)
    models: FakeModels = field(default_factory=FakeModels)
