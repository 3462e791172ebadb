"""A report of prompts that real runs have tuned on the demo model, made by a worker's own entry, on a real store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from promptatlas.types import Report

import demo
from service.settings import ModelSource, Settings
from service.store.artifacts.store import ArtifactStore
from service.store.runs.store import RunStore
from workers.jobs import KINDS, run
from workers.running.setup import WorkSetup
from workers.running.stop_signals import StopSignals

DEMO = Path(demo.__file__).parent
TITLE = "<script>alert('& so on')</script>"
TUNE: Mapping[str, Any] = {
    "model": "demo",
    "dataset": "demo-qa",
    "name": "asked",
    "method": {"kind": "soft", "n_virtual": 4},
    "priors": [{"kind": "vocabulary"}, {"kind": "gaussian", "fit": {"embeddings": "vocabulary"}}],
    "optimizer": {"lr": 0.01, "steps": 4, "batch_size": 4},
    "eval": {"every": 2, "metrics": ["exact_match"], "n": 8, "samples": 100},
    "snapshots": 2,
}

pytestmark = pytest.mark.skipif(not (DEMO / "model").is_dir(), reason="the demo model is not there")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunStore, str]:
    """The store, and the id of a report of two prompts over two datasets, one of which has answers of one word."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("store")
    settings = Settings(
        home=str(home),
        models=(ModelSource(name="demo", path=str(DEMO / "model")),),
        device="cpu",
        redis_url="redis://127.0.0.1:1/0",
    )
    runs = RunStore(ArtifactStore(str(home)))
    tuned = performed("tune", TUNE, runs=runs, settings=settings)
    assert runs.get(tuned)[1].status == "succeeded", runs.get(tuned)[1].error
    spec = {
        "model": "demo",
        "datasets": ["demo-qa", "demo-arithmetic"],
        "prompts": list(runs.get(tuned)[1].prompts),
        "priors": [{"kind": "isotropic", "std": 1.0}],
        "layers": [0, 4],
        "n": 20,
        "n_trajectories": 4,
        "max_tokens": 6,
        "samples": 99,
        "title": TITLE,
    }
    return runs, performed("report", spec, runs=runs, settings=settings)


def performed(kind: str, spec: Mapping[str, Any], *, runs: RunStore, settings: Settings) -> str:
    run_id = runs.create(kind, spec=spec).id
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopSignals, "listen", lambda self: None)  # the signals of this process are pytest's
        run(run_id, 1, setup=WorkSetup(settings=settings, kinds=KINDS))
    return run_id


@pytest.fixture(scope="module")
def found(reported: tuple[RunStore, str]) -> Report:
    runs, run_id = reported
    return Report.model_validate_json(runs.read_output(run_id, "report.json"))


@pytest.fixture(scope="module")
def page(reported: tuple[RunStore, str]) -> str:
    runs, run_id = reported
    return runs.read_output(run_id, "report.html").decode()


def test_the_run_succeeds_and_leaves_its_files(reported: tuple[RunStore, str]) -> None:
    runs, run_id = reported
    state = runs.get(run_id)[1]
    assert state.status == "succeeded", state.error
    assert sum(state.metrics.values()) == 7
    assert {output.path for output in runs.outputs(run_id)} == {"report.json", "report.html", "spec.json"}


def test_prompts_come_with_all_that_their_run_has_kept(found: Report) -> None:
    assert set(found.collapse) == {"asked-vocabulary-0@1", "asked-gaussian-0@1"}
    for measures in found.collapse.values():
        assert measures["displacement"] > 0
        assert measures["way_length"] >= 0
        assert measures["lr"] == 0.01
        assert measures["seed"] == 0
        assert measures["group"] == "soft for demo-qa at 0.01"
        assert len(measures["nearest_tokens"]) == 4
    gaussian = found.collapse["asked-gaussian-0@1"]
    assert gaussian["prior"] == "gaussian(vocabulary)"
    assert gaussian["draw_log_density"] != gaussian["log_density"]
    drawn = found.collapse["asked-vocabulary-0@1"]
    assert drawn["draw_nearest_distance"] == pytest.approx(0, abs=1e-5)


def test_every_finding_is_told_with_its_rule(found: Report) -> None:
    assert [finding.number for finding in found.findings] == [1, 2, 3, 4, 5, 6, 7]
    assert all(finding.rule and finding.title for finding in found.findings)
    by_number = {finding.number: finding for finding in found.findings}
    assert by_number[1].numbers["by_method_and_rate"]["own_draw_is_nearest"]["soft at 0.01"]["value"] == 1
    assert list(by_number[1].numbers["draws"]) == ["isotropic(1)"]
    assert by_number[2].verdict == "not measured"  # four steps teach nothing
    assert by_number[5].verdict == "confirmed"  # questions in words and sums have no token in common
    assert by_number[7].numbers["share_letters"]["demo-arithmetic"] == 0


def test_trajectories_are_compared_with_both_clouds(found: Report) -> None:
    assert {row["null"] for row in found.trajectories if row["layer"] == 0} == {"vocabulary", "dataset"}
    assert all(row["radius_of_gyration"]["ratio"]["low"] > 0 for row in found.trajectories)


def test_the_page_needs_nothing_else(page: str) -> None:
    assert "<script" not in page.lower()
    assert "@import" not in page
    assert "javascript:" not in page
    for target in re.findall(r"""(?:src|href|action|data)\s*=\s*["']?([^"'\s>]+)""", page):
        assert target.startswith("#"), target
    for target in re.findall(r"url\(([^)]*)\)", page):
        assert target.strip("\"'").startswith("#"), target


def test_the_title_is_text(page: str) -> None:
    assert TITLE not in page
    assert page.count("&lt;script&gt;alert(&#39;&amp; so on&#39;)&lt;/script&gt;") == 3  # head, heading, spec


def test_all_figures_are_in_it(page: str) -> None:
    assert page.count("<svg") == page.count("</svg>") == 6
    assert "validation loss (nats)" in page
    assert "gaussian(vocabulary)" in page
    sections = re.findall(r'<section id="finding-(\d)">(.*?)</section>', page, re.DOTALL)
    assert {number: text.count("<svg") for number, text in sections} == {
        "1": 1,
        "2": 1,
        "3": 0,
        "4": 1,
        "5": 2,
        "6": 0,
        "7": 1,
    }
