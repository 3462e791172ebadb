"""A report without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from promptatlas import Report, types

from tests.clients.python.promptatlas.fake_maps import PAGE, REPORT


@pytest.fixture
def report() -> Report:
    return Report("run-7", info=types.Report.model_validate(REPORT), html=PAGE)


def test_content(report: Report) -> None:
    assert [finding.verdict for finding in report.findings] == ["confirmed", "not measured"]
    assert (report.title, report.model) == ("Where they lie", "demo")
    assert report.finding(5).missing == "a second task"
    with pytest.raises(KeyError, match="no finding 2; there are 1, 5"):
        report.finding(2)
    assert report.separation[0].p_value == 0.001
    assert (report.trajectories, report.shape) == (REPORT["trajectories"], REPORT["shape"])
    assert repr(report) == ("Report(id='run-7', title='Where they lie', verdicts={1: 'confirmed', 5: 'not measured'})")


def test_tables(report: Report) -> None:
    pytest.importorskip("pandas")
    findings = report.to_pandas()
    assert findings["verdict"].tolist() == ["confirmed", "not measured"]
    assert findings.columns.tolist() == ["number", "title", "verdict", "rule", "missing"]
    numbers = report.to_pandas("numbers")
    assert numbers.to_numpy().tolist() == [[1, "share.value", 0.75], [1, "share.low", 0.5]]
    collapse = report.to_pandas("collapse")
    assert collapse["prompt"].tolist() == ["qa@1", "qa@2"]
    assert collapse["norm_ratio"].tolist() == [1.5, 2.5]
    assert report.to_pandas("separation")["measure"].tolist() == ["silhouette"]
    assert report.to_pandas("trajectories")["step.mean"].tolist() == [1.5]
    assert report.to_pandas("shape")["kurtosis"].tolist() == [3.5]
    with pytest.raises(ValueError, match="expected one of findings, numbers, collapse"):
        report.to_pandas("weather")  # type: ignore[arg-type]


def test_files(report: Report, tmp_path: Path) -> None:
    assert report.save(tmp_path / "r.html").read_text(encoding="utf-8") == PAGE
    kept = json.loads(report.save(str(tmp_path / "r.json")).read_text(encoding="utf-8"))
    assert types.Report.model_validate(kept) == report.info


def test_notebook_html(report: Report) -> None:
    shown = report._repr_html_()
    assert "<td>1</td><td>Vectors stay</td><td>confirmed</td>" in shown
    assert "Tasks &lt;part&gt;" in shown
