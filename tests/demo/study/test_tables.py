from __future__ import annotations

import csv
from pathlib import Path

from promptatlas.types import Report, Separation

from demo.study.tables import interval, markdown_table, shown, write_tables


def test_numbers_in_three_digits() -> None:
    assert [shown(value) for value in (None, 0.12345, 12.345, 1234.5, 0, -250.2)] == [
        "–",
        "0.123",
        "12.3",
        "1234",
        "0",
        "-250",
    ]


def test_intervals() -> None:
    assert interval({"value": 0.5, "low": 0.25, "high": 1.0}) == "0.5 (0.25 to 1)"
    assert interval({"value": 1.0, "low": 1.0, "high": 1.0, "n_never": 0.0}) == "1"
    assert interval({"n_never": 3.0}) == "–, 3 never"
    assert interval(None) == "–"


def test_a_table_keeps_its_columns() -> None:
    assert markdown_table(("a", "b"), [("x | y", "1\n2")]) == "| a | b |\n| --- | --- |\n| x \\| y | 1 2 |\n"


def test_files_have_a_column_for_each_number(tmp_path: Path) -> None:
    report = Report(
        title="t",
        model="m",
        revision="r",
        findings=[],
        collapse={
            "a@1": {"prior": "x", "nearest_distance": 0.5, "layers": [0]},
            "b@1": {"prior": "y", "mahalanobis": 2.0},
        },
        separation=[Separation(layer=0, measure="silhouette", value=0.5)],
        trajectories=[{"dataset": "d", "step_length": {"ratio": {"value": 0.75}}}],
    )
    paths = write_tables(report, folder=tmp_path)
    assert [path.name for path in paths] == ["prompts.csv", "separation.csv", "trajectories.csv", "shape.csv"]
    prompts, separation, walks, shape = (list(csv.DictReader(path.open(encoding="utf-8"))) for path in paths)
    assert prompts[0] == {"prompt": "a@1", "prior": "x", "nearest_distance": "0.5", "layers": "[0]", "mahalanobis": ""}
    assert separation[0]["value"] == "0.5"
    assert walks[0]["step_length.ratio.value"] == "0.75"
    assert shape == []
