"""The real datasets of a study: all files are required first, validation splits are cut, and everything else is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from promptatlas import Client

from demo.real.datasets import RealDataset
from demo.real.folder import MissingData
from demo.study.data import StudyData, cut
from demo.study.plan import Size
from demo.study.plans.smollm2 import DATASETS
from tests.demo.real.real_files import WIKI, write, write_maths, write_problems, write_squad


@dataclass
class FakeDatasets:
    uploads: dict[str, Any] = field(default_factory=dict)

    def upload(self, name: str, *, records: tuple[Mapping[str, Any], ...], template: object) -> SimpleNamespace:
        self.uploads[name] = records
        return SimpleNamespace(n_records=len(records))


def full_folder(folder: Path) -> Path:
    write_maths(folder)
    write_squad(folder)
    write_problems(folder)
    write(folder, "wikitext-2/valid.txt", WIKI)
    return folder


def test_all_datasets_of_the_plan_are_uploaded(tmp_path: Path) -> None:
    client = SimpleNamespace(datasets=FakeDatasets())
    StudyData().require(full_folder(tmp_path))
    size = Size(steps=1, n_validation=1)
    found = StudyData().upload(cast(Client, client), folder=tmp_path, count=lambda text: len(text.split()), size=size)
    assert set(found) == set(DATASETS)
    for name, records in client.datasets.uploads.items():
        assert found[name] == len(records)
        splits = [record["split"] for record in records]
        assert splits.count("validation") == 1
        assert {"train", "test"} <= set(splits)


def test_contexts_have_at_most_the_number_of_tokens_of_the_size(tmp_path: Path) -> None:
    longest = []
    for max_context in (8, 1000):
        client = SimpleNamespace(datasets=FakeDatasets())
        size = Size(steps=1, n_validation=1, max_context=max_context)
        StudyData().upload(
            cast(Client, client), folder=full_folder(tmp_path), count=lambda text: len(text.split()), size=size
        )
        longest.append(max(len(record["context"].split()) for record in client.datasets.uploads["squad"]))
    assert longest[0] <= 8 < longest[1]


@pytest.mark.parametrize("missing", ["squad-en.json", "wikitext-2/valid.txt", "gsm8k-train.jsonl"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    (full_folder(tmp_path) / missing).unlink()
    with pytest.raises(MissingData, match=missing):
        StudyData().require(tmp_path)


def test_only_the_validation_split_is_cut() -> None:
    splits = ["train", "validation", "test", "validation", "train", "validation"]
    records = tuple({"text": str(i), "split": split} for i, split in enumerate(splits))
    whole = RealDataset(name="a", records=records, n_left_out=5)
    found = cut(whole, n_validation=2)
    assert [record["text"] for record in found.records] == ["0", "1", "2", "3", "4"]
    assert found.n_left_out == 6
    assert cut(whole, n_validation=3) == whole
