"""The command line of the study, and the study of the demo model with a client whose runs finish at once."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from promptatlas import Client
from rich.console import Console

from demo import findings
from demo.study.page.page import publish
from demo.study.plan import Size
from demo.study.plans.demo_model import DEMO_MODEL, TINY
from demo.study.record import FILE, Record
from demo.study.runs import StudyRuns
from tests.demo.study.cards import card
from tests.demo.study.fake_runs import FakeClient, members
from tests.demo.study.page.test_page import PAGE, report

CARD = card(n_layers=6)
RECORD = Record(plan="demo", size=Size(steps=1))


def runs_of(client: FakeClient) -> StudyRuns:
    return StudyRuns(cast(Client, client), Console(file=io.StringIO()))


def tune_all(client: FakeClient) -> dict[str, list[str]]:
    return runs_of(client).tune_all(DEMO_MODEL, size=TINY, card=CARD)


def test_all_runs_are_queued_before_the_first_is_awaited() -> None:
    client = FakeClient()
    prompts = tune_all(client)
    tunings = DEMO_MODEL.tunings(TINY, {}, CARD)
    assert [run.spec["name"] for run in client.runs.made] == [one.name for one in tunings] == list(prompts)
    assert prompts == {one.name: [row["prompt"] for row in members(one.spec)] for one in tunings}


@pytest.mark.parametrize("status", ["queued", "running", "failed", "cancelled"])
def test_runs_of_an_earlier_session_are_continued(status: str) -> None:
    client = FakeClient()
    first = tune_all(client)
    made = list(client.runs.made)
    made[0].status = status
    assert tune_all(client) == first
    assert client.runs.made == made
    assert {run.status for run in made} == {"succeeded"}
    assert made[0].n_resumed == (status in ("failed", "cancelled"))


def test_other_specs_are_other_runs() -> None:
    client = FakeClient()
    tune_all(client)
    names = [run.name for run in client.runs.made]
    assert len(set(names)) == len(names)


def test_a_report_is_created_each_time() -> None:
    spec = DEMO_MODEL.report_spec(prompts=["a@1"], size=TINY, card=CARD)
    client = FakeClient()
    first = runs_of(client).new_report(spec).wait(progress=False)
    second = runs_of(client).new_report(spec)
    assert first.id != second.id
    assert first.spec == spec


def test_an_interrupted_report_is_continued_and_others_are_cancelled() -> None:
    spec = DEMO_MODEL.report_spec(prompts=["a@1"], size=TINY, card=CARD)
    client = FakeClient()
    interrupted = runs_of(client).new_report(spec)
    assert runs_of(client).new_report(spec).id == interrupted.id
    other = runs_of(client).new_report({**spec, "prompts": ["b@1"]})
    assert other.id != interrupted.id
    assert (interrupted.status, other.status) == ("cancelled", "queued")


def test_results_are_printed_and_written(tmp_path: Path) -> None:
    page, printed = tmp_path / "page.md", io.StringIO()
    page.write_text(PAGE, encoding="utf-8")
    plan = replace(DEMO_MODEL, page=page)
    console = Console(file=printed, width=500)
    publish(report(), record=RECORD, plan=plan, output=tmp_path, console=console)
    assert printed.getvalue().count("\n") == 8
    assert "**confirmed.**" in page.read_text(encoding="utf-8")
    publish(report(), record=RECORD, plan=replace(plan, page=tmp_path / "none"), output=None, console=console)


def failed(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert findings.main(arguments) == 1
    return capsys.readouterr().err


def test_a_service_that_does_not_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--tiny", "--weights", str(tmp_path), "--output", str(tmp_path / "out")]
    assert failed(arguments, monkeypatch, capsys).startswith("findings: the service ended with status")


def test_missing_data_are_reported_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", "smollm2", "--data", str(tmp_path / "none"), "--output", str(tmp_path / "out")]
    error = failed(arguments, monkeypatch, capsys)
    assert error.startswith("findings: real data are missing in")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_record_of_another_study_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILE).write_text("{}")
    error = failed(["--tiny", "--keep", "--output", str(tmp_path)], monkeypatch, capsys)
    assert "expected the record of a study" in error


@pytest.mark.parametrize("minutes", ["0", "-1", "inf", "nan", "long"])
def test_a_time_limit_is_a_positive_number(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        findings.main(["--minutes", minutes])
    assert "--minutes" in capsys.readouterr().err


def test_only_a_study_with_a_brief_form_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert findings.main(["--brief"]) == 2
    assert "the study of demo has no brief form" in capsys.readouterr().err
