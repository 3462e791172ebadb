"""The page of findings: blocks are generated from a report, and the text around them is kept."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from promptatlas.types import Finding, Report
from rich.console import Console

from demo.study.page.blocks import REPORT_BLOCKS
from demo.study.page.page import WrongPage, block_names, blocks_of, publish, with_blocks
from demo.study.plan import Size, StudyPlan
from demo.study.plans import PLANS
from demo.study.record import Record
from tests.demo.study.page.records import RECORD
from tests.workers.reports.evidence_made_up import evidence, tuned
from workers.reports.evidence.collapse_measures import measure_collapse
from workers.reports.evidence.measurement_cache import plain
from workers.reports.findings.cloud_shape import finding_shape, measure_shapes
from workers.reports.findings.collapse import finding_collapse
from workers.reports.findings.displacement import finding_displacement
from workers.reports.findings.localization import finding_localization, measure_trajectories
from workers.reports.findings.quality import finding_interpolation, finding_quality
from workers.reports.findings.statistics import Resampling
from workers.reports.findings.task_clusters import finding_tasks, measure_separation

ROOT = Path(__file__).parents[4]
DEMO = PLANS["demo"]
BLOCKS = REPORT_BLOCKS
PAGE = "# A\nprose\n" + "\n".join(
    f"<!-- begin {name} -->\nstale {name}\n<!-- end {name} -->\nmore prose" for name in BLOCKS
)


def cached(_key: str, make: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return make()


@cache
def report() -> Report:
    """A report of synthetic evidence, computed by the code of the findings."""
    priors = {"near": 10, "far": 40, "interpolation(a, b)": 20}
    prompts = [tuned(p, seed, moved=0.1, score=0.9, steps=s) for p, s in priors.items() for seed in range(3)]
    prompts += [tuned("near", seed, moved=0.1, score=0.9, steps=5, lr=0.5, ref=f"fast-{seed}@1") for seed in range(3)]
    found, resampling = evidence(*prompts), Resampling(samples=99, seed=0)
    collapse = measure_collapse(found, check=lambda: None)
    answers = [
        finding_displacement(found, collapse, resampling=resampling),
        finding_quality(found, collapse, resampling=resampling),
        finding_collapse(found, collapse, resampling=resampling),
        finding_localization(measure_trajectories(found, resampling=resampling, cached=cached)),
        finding_tasks(found, measure_separation(found, resampling=resampling, cached=cached)),
        finding_interpolation(found, resampling=resampling),
        finding_shape(found, measure_shapes(found, resampling=resampling, cached=cached)),
    ]
    spec = {"prompts": [], "datasets": ["a"], "n": 20, "n_trajectories": 2, "max_tokens": 4, "samples": 99, "seed": 0}
    findings = [Finding.model_validate(plain(vars(answer))) for answer in answers]
    return Report(title="t", model="m", revision="r", findings=findings, spec=spec, versions={"x": "1"})


def with_findings(page: str, *, report: Report, plan: StudyPlan = DEMO) -> str:
    record = Record(plan=plan.name, size=Size(steps=1))
    return with_blocks(page, blocks=blocks_of(report, record=record, plan=plan))


def block(page: str, name: str) -> str:
    return page.split(f"<!-- begin {name} -->\n")[1].split(f"<!-- end {name} -->")[0]


def test_blocks_are_generated_and_text_is_kept() -> None:
    page = with_findings(PAGE, report=report())
    assert "stale" not in page
    assert page.startswith("# A\nprose\n")
    assert page.count("more prose") == len(BLOCKS)
    assert with_findings(page, report=report()) == page


def test_every_block_has_its_verdict_and_numbers() -> None:
    page = with_findings(PAGE, report=report())
    for finding in report().findings:
        text = block(page, f"finding-{finding.number}")
        assert text.startswith(f"**{finding.verdict}.** {finding.rule}")
        assert "| --- |" in text
        assert "None" not in text
    assert "| near | 0.9 |" in block(page, "finding-2")
    assert "| language \\| sums | 1 | 0, 1 of 2 | 0." in block(page, "finding-5")
    assert "soft for qa at 0.01 | 0.9 | 0.9 |" in block(page, "finding-6")
    assert "near, soft for qa, by rate:" in block(page, "finding-3")
    assert "at the embeddings, walk over the vocabulary" in block(page, "finding-4")


def test_findings_without_data_name_what_they_require() -> None:
    findings = [
        finding.model_copy(update={"verdict": "not measured", "numbers": {}, "missing": "two datasets"})
        for finding in report().findings
    ]
    page = with_findings(PAGE, report=report().model_copy(update={"findings": findings}))
    assert "Requires two datasets." in block(page, "finding-5")
    assert block(page, "verdicts").count("two datasets") == 7


@pytest.mark.parametrize(
    "page", ["", PAGE.replace("begin made", "begin mad"), PAGE + PAGE, PAGE.replace("<!-- end made", "<!-- end m")]
)
def test_a_page_without_its_markers_is_refused(page: str) -> None:
    with pytest.raises(WrongPage):
        with_findings(page, report=report())


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_the_page_of_a_plan_has_all_its_blocks(plan: StudyPlan) -> None:
    with_findings(plan.page.read_text(encoding="utf-8"), report=report(), plan=plan)


def test_the_page_in_docs_has_the_rules_and_titles_of_the_code() -> None:
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    for finding in report().findings:
        assert f".** {finding.rule}\n" in block(page, f"finding-{finding.number}")
        assert f"| {finding.number}. {finding.title} | **" in block(page, "verdicts")


def test_the_report_is_valid_json() -> None:
    json.dumps(report().model_dump(), allow_nan=False)


def test_blocks_show_the_figures_that_exist() -> None:
    plan, record = PLANS["smollm2"], Record(plan="smollm2", size=Size(steps=1))
    found = blocks_of(report(), record=record, plan=plan, pictures=["tasks", "fits", "map-pca", "map-tsne"])
    links = {name: [line for line in text.splitlines() if line.startswith("![")] for name, text in found.items()}
    assert {name: shown for name, shown in links.items() if shown} == {
        "finding-5": ["![tasks](pictures/findings-smollm2/tasks.png)"],
        "fits": ["![fits](pictures/findings-smollm2/fits.png)"],
        "maps": [
            "![map-pca](pictures/findings-smollm2/map-pca.png)",
            "![map-tsne](pictures/findings-smollm2/map-tsne.png)",
        ],
    }


def test_results_of_a_study_with_pictures_are_published(tmp_path: Path) -> None:
    page = tmp_path / "findings-smollm2.md"
    blocks = "\n".join(f"<!-- begin {name} -->\nstale\n<!-- end {name} -->" for name in block_names(PLANS["smollm2"]))
    page.write_text(blocks, encoding="utf-8")
    (tmp_path / "map-pca.png").write_bytes(b"a picture")
    plan = replace(PLANS["smollm2"], page=page, pictures=tmp_path / "pictures")
    publish(report(), record=RECORD, plan=plan, output=tmp_path, console=Console(file=io.StringIO()))
    text = page.read_text(encoding="utf-8")
    assert "stale" not in text
    shown = re.findall(r"!\[.*\]\(pictures/findings-smollm2/(.*)\)", text)
    assert set(shown) == {path.name for path in (tmp_path / "pictures").iterdir()}
    assert (tmp_path / "pictures" / "map-pca.png").read_bytes() == b"a picture"
