"""The steps of the study, with a client whose runs finish at once."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from promptatlas import Client, TimedOutError
from rich.console import Console

from demo import findings
from demo.findings import Study, publish
from demo.study.plan import TINY, report_spec, tunings
from tests.demo.study.test_page import PAGE, report


@dataclass
class FakeRun:
    id: str
    kind: str
    name: str
    spec: Mapping[str, Any]
    prompts: list[str]
    status: str = "queued"
    n_resumed: int = 0
    n_late: int = 2

    def resume(self) -> FakeRun:
        self.n_resumed += 1
        self.status = "queued"
        return self

    @property
    def ended(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")

    def wait(self, *, progress: bool, timeout_s: float | None = None) -> FakeRun:
        assert self.status != "failed"
        if timeout_s is not None and self.n_late:
            self.n_late -= 1
            raise TimedOutError("still running", connecting=False)
        self.status = "succeeded"
        return self

    def refresh(self) -> FakeRun:
        return self


@dataclass
class FakeRuns:
    made: list[FakeRun] = field(default_factory=list)

    def list(self, *, kind: str) -> list[FakeRun]:
        return [run for run in self.made if run.kind == kind]

    def create(self, kind: str, spec: Mapping[str, Any], *, name: str) -> FakeRun:
        prompts = [f"{spec['name']}-a@1", f"{spec['name']}-b@1"] if kind == "tune" else []
        self.made.append(FakeRun(f"run-{len(self.made)}", kind, name, spec, prompts))
        return self.made[-1]


@dataclass
class FakeClient:
    runs: FakeRuns = field(default_factory=FakeRuns)


def study_of(client: FakeClient) -> Study:
    return Study(cast(Client, client), TINY, Console(file=io.StringIO()))


def test_all_runs_are_queued_before_the_first_is_awaited() -> None:
    client = FakeClient()
    prompts = study_of(client).prompts()
    names = [one.name for one in tunings(model="demo", size=TINY)]
    assert [run.spec["name"] for run in client.runs.made] == names
    assert prompts == [f"{name}-{letter}@1" for name in names for letter in "ab"]
    made = study_of(client).report(prompts)
    assert made.spec == report_spec(model="demo", prompts=prompts, size=TINY)
    assert made.status == "succeeded"


@pytest.mark.parametrize("status", ["queued", "running", "failed", "cancelled"])
def test_runs_of_an_earlier_session_are_continued(status: str) -> None:
    client = FakeClient()
    first = study_of(client).prompts()
    made = list(client.runs.made)
    made[0].status = status
    assert study_of(client).prompts() == first
    assert client.runs.made == made
    assert {run.status for run in made} == {"succeeded"}
    assert made[0].n_resumed == (status in ("failed", "cancelled"))


def test_other_specs_are_other_runs() -> None:
    client = FakeClient()
    study_of(client).prompts()
    names = [run.name for run in client.runs.made]
    assert len(set(names)) == len(names)


def test_a_report_is_created_each_time() -> None:
    client = FakeClient()
    first, second = (study_of(client).report(["a@1"]) for _ in range(2))
    assert first.id != second.id


def test_results_are_printed_and_written(tmp_path: Path) -> None:
    page, printed = tmp_path / "page.md", io.StringIO()
    page.write_text(PAGE, encoding="utf-8")
    publish(report(), page=page, console=Console(file=printed, width=200))
    assert printed.getvalue().count("\n") == 8
    assert "**confirmed.**" in page.read_text(encoding="utf-8")
    publish(report(), page=None, console=Console(file=printed, width=200))


def test_a_service_that_does_not_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["findings", "--tiny", "--model", str(tmp_path), "--output", str(tmp_path / "out")])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert findings.main() == 1
    assert capsys.readouterr().err.startswith("findings: the service ended with status")
