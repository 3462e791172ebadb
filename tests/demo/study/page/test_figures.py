from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from matplotlib.image import imread

from demo.study.page.figures import FIGURES, save_figures
from demo.study.plan import Size
from demo.study.record import Record
from tests.demo.study.page.records import RECORD
from tests.demo.study.page.test_page import cached, report
from tests.workers.reports.evidence_made_up import evidence, tuned
from workers.reports.findings.cloud_shape import measure_shapes
from workers.reports.findings.localization import measure_trajectories
from workers.reports.findings.statistics import Resampling
from workers.reports.findings.task_clusters import measure_separation


def test_every_figure_is_drawn_from_a_complete_report(tmp_path: Path) -> None:
    resampling = Resampling(samples=99, seed=0)
    found = evidence(*(tuned("near", seed, moved=0.1, score=0.9, steps=5) for seed in range(2)))
    complete = report().model_validate(
        {
            **report().model_dump(),
            "separation": measure_separation(found, resampling=resampling, cached=cached),
            "trajectories": measure_trajectories(found, resampling=resampling, cached=cached),
            "shape": measure_shapes(found, resampling=resampling, cached=cached),
        }
    )
    paths = save_figures(complete, record=RECORD, folder=tmp_path / "pictures")
    assert [path.stem for path in paths] == list(FIGURES)
    for path in paths:
        assert imread(path)[..., :3].std() > 0.01


def test_figures_without_numbers_are_left_out(tmp_path: Path) -> None:
    empty = report().model_copy(update={"findings": []})
    assert save_figures(empty, record=Record(plan="a", size=Size(steps=1)), folder=tmp_path) == []
    assert [path.stem for path in save_figures(empty, record=replace(RECORD), folder=tmp_path)] == ["movement", "fits"]
