"""The built-in datasets: equal to the generator's output, with disjoint splits and readable records."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from demo.datasets import FOLDER, N_EXAMPLES, file_name, lines, pack
from demo.scaffold import HEADERS, TASKS, Task


def records(task: Task) -> list[dict[str, Any]]:
    with gzip.open(FOLDER / file_name(task), "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("task", TASKS)
def test_the_files_are_what_the_generator_writes(task: Task) -> None:
    # Only the header of the compressed bytes is compared, because builds of zlib compress differently.
    data = (FOLDER / file_name(task)).read_bytes()
    text = "".join(f"{line}\n" for line in lines(task))
    assert gzip.decompress(data).decode("utf-8") == text
    assert data[:10] == pack(text)[:10]
    assert data[4:8] == b"\0\0\0\0"


def test_they_are_small() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {file_name(task) for task in TASKS}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_500_000


@pytest.mark.parametrize("task", TASKS)
def test_splits_have_their_sizes_and_share_nothing(task: Task) -> None:
    by_split: dict[str, list[str]] = {}
    for record in records(task):
        by_split.setdefault(record["split"], []).append(record.get("input") or record["text"])
    assert {split: len(texts) for split, texts in by_split.items()} == N_EXAMPLES
    assert len({text for texts in by_split.values() for text in texts}) == sum(N_EXAMPLES.values())


@pytest.mark.parametrize("task", [task for task in TASKS if task != "text"])
def test_inputs_have_no_header(task: Task) -> None:
    headers = {header for each in HEADERS.values() for header in each}
    for record in records(task):
        assert "\n" not in record["input"]
        assert not any(header in record["input"] for header in headers)
        assert record["target"].startswith(" ")
        assert record["target"].endswith(record.get("result", record["target"]))
