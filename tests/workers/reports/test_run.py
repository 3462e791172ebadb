"""The kind ``report`` on a small model: what it leaves, how it stops, and what it does without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from service.engine.prompts.prompt import Prompt
from tests.workers.evaluation.fake_run import FakeRun, Killed
from tests.workers.reports.small_report import made, make_run, put_prompt, tuned
from tests.workers.tuning.small_run import put_dataset, small_model
from workers.reports.evidence import measurement_cache as measuring
from workers.reports.run import report
from workers.running.interface import RunStopped


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a small report's time is drawing."""
    monkeypatch.setattr("workers.reports.run.draw_figures", lambda *_, **__: {})


def twin_of(run: FakeRun) -> FakeRun:
    """The same run in the same store, from its beginning."""
    return FakeRun(run.spec, run.models, run.artifacts, run.datasets, settings=run.settings)


def test_the_same_report_is_the_same_files(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.spec = {**run.spec, "prompts": tuned(run), "priors": [{"kind": "xavier"}]}
    twin = twin_of(run)
    report(run)
    report(twin)
    assert run.outputs == twin.outputs
    assert set(run.outputs) == {"report.json", "report.html", "spec.json"}
    assert run.steps[-1][0] == run.steps[-1][1]


@pytest.mark.usefixtures("no_figures")
def test_verdicts_are_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    metrics = report(run)
    # Those about prompts, and that about natural language, of which there is none.
    assert metrics["n_not_measured"] == 5
    assert sum(metrics.values()) == 7


@pytest.mark.usefixtures("no_figures")
def test_it_goes_on_from_what_it_has_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    whole = twin_of(run)
    expected = report(whole)
    run.stop_at = whole.n_checks - 3
    with pytest.raises(RunStopped):
        report(run)
    assert run.outputs == {}
    assert run.checkpoint is not None
    again = run.again()
    monkeypatch.setattr(
        "workers.reports.findings.task_clusters.silhouette", None
    )  # what has been measured is not measured anew
    assert report(again) == expected
    assert again.outputs == whole.outputs


@pytest.mark.usefixtures("no_figures")
def test_it_is_saved_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SAVE_EVERY_S", 0.0)
    run = make_run(tmp_path)
    whole = twin_of(run)
    report(whole)
    run.kill_at = whole.n_checks - 3
    with pytest.raises(Killed):
        report(run)
    again = run.again()
    report(again)
    assert again.outputs == whole.outputs


@pytest.mark.usefixtures("no_figures")
def test_measurements_of_other_datasets_are_dropped(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    whole = twin_of(run)
    report(whole)
    run.stop_at = whole.n_checks
    with pytest.raises(RunStopped):
        report(run)
    assert run.checkpoint is not None
    run.datasets.delete("other")
    put_dataset(run.datasets, "other", [{"input": f"t{i} t{i + 1}", "target": " t3"} for i in range(5, 60)])
    again = run.again()
    report(again)
    fresh = twin_of(run)
    report(fresh)
    assert again.outputs == fresh.outputs != whole.outputs


@pytest.mark.usefixtures("no_figures")
def test_it_stops_before_it_reads(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.stop_at = 1
    with pytest.raises(RunStopped):
        report(run)
    assert run.outputs == {}


@pytest.mark.usefixtures("no_figures")
def test_prompts_whose_run_is_gone_are_measured_without_their_past(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    soft = put_prompt(run, "soft", Prompt("soft", {"soft": torch.randn(3, small_model().d_model)}), run_id="run-gone")
    run.spec = {**run.spec, "prompts": [soft]}
    found = made(run)
    assert found.collapse[soft]["nearest_distance"] > 0
    assert "displacement" not in found.collapse[soft]
    assert {finding.number: finding.missing for finding in found.findings}[1] is not None


@pytest.mark.usefixtures("no_figures")
def test_prefixes_have_no_vectors_among_the_states(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    card = small_model().card
    tensor = torch.randn(card.n_layers, 2, card.n_kv_heads, 3, card.d_head)
    prefix = put_prompt(run, "prefix", Prompt("prefix", {"prefix": tensor}))
    run.spec = {**run.spec, "prompts": [prefix]}
    found = made(run)
    assert found.collapse == {}
    assert [finding.verdict for finding in found.findings[:3]] == ["not measured"] * 3


@pytest.mark.usefixtures("no_figures")
def test_deep_vectors_are_measured_at_their_own_layer(tmp_path: Path) -> None:
    run = make_run(tmp_path, layers=[0])
    deep = Prompt("deep", {"deep.1": torch.randn(3, small_model().d_model)}, where="local")
    ref = put_prompt(run, "deep", deep)
    run.spec = {**run.spec, "prompts": [ref]}
    found = made(run)
    assert found.collapse[ref]["layers"] == [1]
    assert {row.layer for row in found.separation} == {0}


@pytest.mark.parametrize("words", [["t5"], [f"t{i}" for i in range(5, 50)]], ids=["one word", "many words"])
@pytest.mark.usefixtures("no_figures")
def test_texts_of_one_word(tmp_path: Path, words: list[str]) -> None:
    run = make_run(tmp_path, datasets=["words", "single"])
    put_dataset(run.datasets, "single", [{"text": words[i % len(words)]} for i in range(60)])
    found = made(run)
    assert {row["dataset"] for row in found.trajectories} >= {"words"}
    assert len(found.findings) == 7


@pytest.mark.usefixtures("no_figures")
def test_one_dataset_alone(tmp_path: Path) -> None:
    found = made(make_run(tmp_path, datasets=["words"]))
    assert found.separation == []
    assert {finding.number: finding.missing for finding in found.findings}[5] == "at least two datasets"
