"""Datasets of the hub, from rows that stand where the network stands; and Hugging Face's own reader on local files."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from promptatlas.types import Template

from service.errors import InvalidRequest, NotFound, TooLarge, Unavailable
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.hub import HubRows, load_rows, parse_hub_name
from service.store.datasets.store import DatasetStore


class FakeHub:
    """Answers rows and counts how often it is asked."""

    def __init__(self, rows: Mapping[str, Any]) -> None:
        self.rows = rows
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, repository: str, config: str | None) -> HubRows:
        self.asked.append((repository, config))
        return self.rows


def store_on(tmp_path: Path, rows: Mapping[str, Any], **options: Any) -> tuple[DatasetStore, FakeHub]:
    hub = FakeHub(rows)
    return DatasetStore(ArtifactStore(str(tmp_path / "store")), load_hub=hub, **options), hub


def test_a_dataset_of_the_hub_is_read_once_and_stored(tmp_path: Path) -> None:
    rows = {"train": [{"input": "a", "target": "b"}], "validation": [], "test": [{"input": "c", "target": "d"}]}
    store, hub = store_on(tmp_path, rows)
    info = store.get("hub:owner/name:main")
    assert (info.name, info.splits) == ("hub:owner/name:main", {"train": 1, "validation": 0, "test": 1})
    assert [example.input for example in store.examples("hub:owner/name:main", split="test")] == ["c"]
    assert store.get("hub:owner/name:main") == info
    assert hub.asked == [("owner/name", "main")]
    assert [each.name for each in store.list_datasets().items] == ["hub:owner/name:main"]
    store.delete("hub:owner/name:main")
    assert store.list_datasets().items == []
    assert store.get("hub:owner/name:main").sha256 == info.sha256
    assert len(hub.asked) == 2


def test_a_single_split_is_divided_by_hash(tmp_path: Path) -> None:
    store, _ = store_on(tmp_path, {"train": [{"text": f"Text {i}."} for i in range(200)]})
    splits = store.get("hub:o/n").splits
    assert sum(splits.values()) == 200
    assert 130 < splits["train"] < 190
    assert splits["validation"] > 0
    assert splits["test"] > 0


def test_other_splits_are_left_out(tmp_path: Path) -> None:
    store, _ = store_on(tmp_path, {"train": [{"text": "a"}], "dev": [{"text": "b"}], "unsupervised": [{"text": "c"}]})
    assert store.get("hub:o/n").splits == {"train": 1, "validation": 1, "test": 0}
    odd, _ = store_on(tmp_path, {"one": [], "two": []})
    with pytest.raises(InvalidRequest, match="no split train, validation or test; it has: one, two"):
        odd.get("hub:o/odd")


def test_rows_of_a_known_shape_are_of_that_format(tmp_path: Path) -> None:
    answers = {"text": ["Ann", "Ann", "A."], "answer_start": [0, 0, 0]}
    rows = [
        {"id": "1", "title": "T", "context": "Ann.", "question": "Who?", "answers": answers},
        {"id": "2", "title": "T", "context": "Ann.", "question": "Why?", "answers": {"text": [], "answer_start": []}},
    ]
    store, _ = store_on(tmp_path, {"train": rows, "test": []})
    assert store.get("hub:o/squad").format == "squad"
    found = list(store.examples("hub:o/squad"))
    assert [one.input for one in found] == ["Ann.\nQuestion: Who?\nAnswer:", "Ann.\nQuestion: Why?\nAnswer:"]
    assert [one.answers for one in found] == [("Ann", "A."), ("unanswerable",)]
    store, _ = store_on(tmp_path, {"train": [{"question": "Q", "answer": "It is <<1+1=2>>2.\n#### 2"}]})
    assert store.get("hub:o/gsm8k").format == "gsm8k"
    assert [one.target for one in store.examples("hub:o/gsm8k")] == [" It is 2.\n#### 2"]


def test_other_rows_need_a_template(tmp_path: Path) -> None:
    row = {"premise": "A.", "label": 1, "when": datetime(2020, 1, 1), "score": float("nan"), "deep": {"a": [b"x", "y"]}}
    store, _ = store_on(tmp_path, {"train": [row], "test": []})
    info = store.get("hub:o/n")
    assert (info.format, info.template, info.fields) == ("jsonl", None, ("premise", "label"))
    with pytest.raises(InvalidRequest, match=r"needs a template. The fields there are: {premise}, {label}"):
        store.examples("hub:o/n")
    asked = store.examples("hub:o/n", template=Template(input="{premise}", target=" {label}"))
    assert [(one.input, one.target) for one in asked] == [("A.", " 1")]
    (shown,) = store.peek("hub:o/n").examples
    assert (shown.input, shown.record) == (
        None,
        {"premise": "A.", "label": 1, "when": None, "score": None, "deep": {"a": [None, "y"]}},
    )


def test_what_goes_on_for_ever_is_stopped(tmp_path: Path) -> None:
    def forever() -> Iterator[dict[str, Any]]:
        while True:
            yield {"text": "on and on"}

    store, _ = store_on(tmp_path, {"train": forever()}, max_bytes=10_000)
    with pytest.raises(TooLarge, match="exceed the limit of 10,000 bytes"):
        store.get("hub:o/n")
    assert store.list_datasets().items == []


def test_names_of_the_hub() -> None:
    named = parse_hub_name("hub:openai/gsm8k:main")
    assert (named.repository, named.config) == ("openai/gsm8k", "main")
    assert parse_hub_name("hub:a/b").config is None


def test_without_the_library_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    store = DatasetStore(ArtifactStore(str(tmp_path)))
    with pytest.raises(InvalidRequest, match=r"'datasets', which is not installed on this server: pip install"):
        store.get("hub:owner/name")


def test_hugging_faces_own_reader_streams_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "hub" / "sums"
    folder.mkdir(parents=True)
    for split, n in (("train", 5), ("test", 2)):
        lines = (json.dumps({"input": f"{split} {i}", "target": str(i)}) for i in range(n))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    load = datasets.load_dataset

    def local(path: str, **options: Any) -> Any:
        assert path == "hf://datasets/owner/sums"
        return load(str(folder), **options, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", local)
    store = DatasetStore(ArtifactStore(str(tmp_path / "store")))
    info = store.get("hub:owner/sums")
    assert info.splits == {"train": 5, "validation": 0, "test": 2}
    assert [one.input for one in store.examples("hub:owner/sums")] == [
        *(f"train {i}" for i in range(5)),
        "test 0",
        "test 1",
    ]


def failing(error: BaseException) -> Any:
    class Datasets:
        @staticmethod
        def load_dataset(*_args: object, **_options: object) -> Any:
            raise error

    return Datasets


class DatasetNotFoundError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (DatasetNotFoundError("/root/x"), NotFound, "The hub has no dataset 'o/n' that this server may read."),
        (ConnectionError("https://x"), Unavailable, "The Hugging Face hub could not be reached."),
        (RuntimeError("/root/x"), InvalidRequest, "could not load 'o/n' with configuration 'c' (RuntimeError)."),
        (
            ValueError("Config name is missing.\nPick one among: ['main', 'socratic']"),
            InvalidRequest,
            "could not load 'o/n' with configuration 'c' (ValueError). Its error names these configurations: main, socratic.",
        ),
    ],
)
def test_the_librarys_complaints_come_in_our_words(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], said: str
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", failing(error))
    with pytest.raises(kind) as caught:
        load_rows("o/n", "c")
    assert said in str(caught.value)
    assert "/root" not in str(caught.value)


def test_what_fails_on_the_way_is_translated_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"text": "a"}
        raise ConnectionError("https://x")

    class Datasets:
        @staticmethod
        def load_dataset(*_args: object, **_options: object) -> Any:
            return {"train": rows()}

    monkeypatch.setitem(sys.modules, "datasets", Datasets)
    found = iter(load_rows("o/n", None)["train"])
    assert next(found) == {"text": "a"}
    with pytest.raises(Unavailable):
        next(found)
