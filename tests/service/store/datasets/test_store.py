"""Datasets in the store: what is kept, what is not, and what comes out again."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from promptatlas.types import Template

from service.errors import Conflict, DamagedArtifact, InvalidRequest, NotFound, TooLarge, Unavailable
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.items import DatasetInfo, Example
from service.store.datasets.store import DatasetStore
from service.store.datasets.templates import TemplateOverride
from tests.service.store.conftest import SetClock
from tests.service.store.datasets.formats.format_files import real_file

DEMO_DATA = Path(__file__).parents[4] / "demo" / "data"


def pairs(n: int, *, tag: str = "q", **more: Any) -> bytes:
    return "".join(json.dumps({"input": f"{tag}{i}", "target": f" {i}", **more}) + "\n" for i in range(n)).encode()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def datasets(root: Path, clock: SetClock) -> DatasetStore:
    return DatasetStore(ArtifactStore(str(root), clock=clock), builtin=DEMO_DATA, clock=clock)


def put(datasets: DatasetStore, data: bytes, *, name: str = "d", **options: Any) -> tuple[DatasetInfo, bool]:
    return datasets.create(name, **{"format": "jsonl", "stream": io.BytesIO(data), **options})


def stored_files(root: Path) -> list[Path]:
    """Without announcements of names, which need not exist."""
    return [path for path in root.rglob("*") if path.is_file() and "changes" not in path.relative_to(root).parts]


def inputs(examples: Any) -> list[str | None]:
    return [example.input for example in examples]


def test_a_dataset_is_what_its_file_says(datasets: DatasetStore) -> None:
    info, is_new = put(datasets, pairs(500))
    assert is_new
    assert datasets.get("d") == info
    assert (info.name, info.format, info.n_records, info.builtin) == ("d", "jsonl", 500, False)
    assert info.template == Template(input="{input}", target="{target}")
    assert info.fields == ("input", "target")
    assert info.created_at == "2026-11-24T12:00:00.000250Z"
    assert sum(info.splits.values()) == 500
    assert 360 < info.splits["train"] < 440
    assert 25 < info.splits["validation"] < 75
    assert 25 < info.splits["test"] < 75


def test_all_splits_together_are_the_file_in_its_order(datasets: DatasetStore) -> None:
    info, _ = put(datasets, pairs(100))
    whole = list(datasets.examples("d"))
    assert inputs(whole) == [f"q{i}" for i in range(100)]
    assert [example.index for example in whole] == list(range(100))
    for split, n in info.splits.items():
        part = list(datasets.examples("d", split=split))
        assert part == [example for example in whole if example.split == split]
        assert len(part) == n


def test_an_example_has_its_answers(datasets: DatasetStore) -> None:
    put(
        datasets,
        b'{"input":"a","target":" b ","task":"t"}\n{"input":"c","target":" d","answers":["d","e"],"split":"test"}',
    )
    first, second = datasets.examples("d")
    assert first.answers == ("b",)
    assert first.record == {"input": "a", "target": " b ", "task": "t"}
    assert second == Example(
        index=1,
        split="test",
        input="c",
        target=" d",
        text=None,
        answers=("d", "e"),
        record={"input": "c", "target": " d", "answers": ["d", "e"]},
    )


def test_the_hash_of_a_record_decides_its_split_whatever_stands_around_it(datasets: DatasetStore) -> None:
    put(datasets, pairs(60), name="a")
    put(datasets, b"".join(reversed(pairs(60).splitlines(keepends=True))) + pairs(30, tag="x"), name="b")
    splits = {example.input: example.split for example in datasets.examples("a")}
    others = {example.input: example.split for example in datasets.examples("b")}
    assert {text: others[text] for text in splits} == splits
    # As it is written down, so that it never changes: sha256 of the canonical record, first 4 bytes, modulo 10.
    bucket = int.from_bytes(hashlib.sha256(b'{"input":"q0","target":" 0"}').digest()[:4], "big") % 10
    assert splits["q0"] == {9: "test", 8: "validation"}.get(bucket, "train")


def test_the_same_records_again_are_the_same_dataset(datasets: DatasetStore, clock: SetClock) -> None:
    info, _ = put(datasets, pairs(5))
    clock.advance(days=1)
    again = b"".join(line + b"  \r\n\n" for line in pairs(5).splitlines()).replace(b'"input"', b'  "input"')
    assert put(datasets, again) == (info, False)


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (pairs(6), {}, "with other records; delete it first, or use another name"),
        (b"".join(reversed(pairs(5).splitlines(keepends=True))), {}, "with other records"),
        (pairs(5, split="test"), {}, "with other records"),
        (pairs(5), {"override": TemplateOverride(input="Q: {input}")}, "with these records and another template"),
    ],
)
def test_other_content_under_a_name_is_a_conflict(
    datasets: DatasetStore, data: bytes, options: dict[str, Any], said: str
) -> None:
    info, _ = put(datasets, pairs(5))
    with pytest.raises(Conflict, match=said):
        put(datasets, data, **options)
    assert datasets.get("d") == info
    datasets.delete("d")
    assert put(datasets, data, **options)[1]


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        (b"", {}, "Expected at least one record, got an empty file."),
        (b"\n \n", {}, "at least one record"),
        (pairs(3) + b"{", {}, "Line 4: expected JSON"),
        (pairs(3) + b"\xff", {}, "Line 4: expected UTF-8"),
        (b"", {"format": "squad"}, "at least one record"),
        (b'{"data":[]}', {"format": "squad"}, "at least one record"),
        (b"", {"format": "text"}, "at least one record"),
        (b"", {"format": "text", "cloze": True}, "at least one record"),
        (b"\n", {"format": "deepmind-math"}, "at least one record"),
        (pairs(3), {"format": "csv"}, "A format is one of jsonl, squad, gsm8k, deepmind-math, text"),
        (
            pairs(3) + b'{"target":"x"}',
            {"override": TemplateOverride(input="{input}")},
            "Line 4: expected text or a number in",
        ),
        (
            b'{"a":"x","b":" "}',
            {"override": TemplateOverride(input="{a}", target=" {b}")},
            "Line 1: expected some text for the template",
        ),
        (
            b'{"a":"x"}',
            {"override": TemplateOverride(input="", target="{a}")},
            "Line 1: expected some text for the template's input",
        ),
        (pairs(3), {"override": TemplateOverride(target="{nope}")}, "The fields there are: {input}, {target}."),
        (
            b"one\ntwo",
            {"format": "text", "override": TemplateOverride(input="{text}")},
            "'target'. The fields there are: {text}.",
        ),
    ],
)
def test_nothing_stays_of_a_bad_file(
    datasets: DatasetStore,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    options: dict[str, Any],
    said: str,
) -> None:
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))
    with pytest.raises(InvalidRequest) as caught:
        put(datasets, data, **options)
    assert said in caught.value.detail
    assert stored_files(root) == []
    assert list((tmp_path / "spool").iterdir()) == []
    with pytest.raises(NotFound):
        datasets.get("d")


def test_records_have_a_limit_as_they_are_stored(root: Path) -> None:
    small = DatasetStore(ArtifactStore(str(root)), max_bytes=1000)
    with pytest.raises(TooLarge, match="Line 35: the records up to here exceed the limit of 1,000 bytes"):
        put(small, pairs(100))
    assert stored_files(root) == []


def test_a_full_disk_is_said_without_a_path(datasets: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "no space", "/secret/folder")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(Unavailable) as caught:
        put(datasets, pairs(3))
    assert caught.value.detail == "The file could not be stored temporarily: No space left on device."


def test_templates_are_kept_and_may_be_replaced_when_asking(datasets: DatasetStore) -> None:
    data = b'{"q":"1+1","a":2,"note":"x"}\n{"q":"2+2","a":4,"note":null}'
    info, _ = put(datasets, data, override=TemplateOverride(input="{q}=", target=" {a}"))
    assert info.template == Template(input="{q}=", target=" {a}")
    assert info.fields == ("q", "a")
    assert [(one.input, one.target, one.answers) for one in datasets.examples("d")] == [
        ("1+1=", " 2", ("2",)),
        ("2+2=", " 4", ("4",)),
    ]
    other = datasets.examples("d", template=Template(input="What is {q}?", target="{a}."))
    assert inputs(other) == ["What is 1+1?", "What is 2+2?"]
    with pytest.raises(InvalidRequest, match=r"names \"note\", which is not a field. The fields there are: {q}, {a}."):
        datasets.examples("d", template=Template(input="{note}", target="{a}"))


def test_running_text_is_text_unless_a_template_is_given(datasets: DatasetStore) -> None:
    info, _ = put(datasets, b"One two.\n\nThree.\n", format="text")
    assert (info.template, info.fields, info.n_records) == (None, ("text",), 2)
    assert [(one.text, one.input, one.answers) for one in datasets.examples("d")] == [
        ("One two.", None, ()),
        ("Three.", None, ()),
    ]
    asked = datasets.examples("d", template=Template(input="{text}", target=" End."))
    assert next((one.text, one.input, one.target) for one in asked) == (None, "One two.", " End.")


def test_cloze_items_of_a_document_stay_in_one_split(datasets: DatasetStore) -> None:
    sentence = "The keeper number {} climbed the long stairs in the tower every single evening of the year. "
    documents = ["".join(sentence.format(10 * i + j) for j in range(9)) for i in range(40)]
    info, _ = put(datasets, "\n".join(documents).encode(), format="text", cloze=True)
    assert (info.format, info.fields) == ("text", ("masked", "answer", "before", "after"))
    found = list(datasets.examples("d"))
    assert len(found) > 80
    assert all(one.target == f" {one.answers[0]}" for one in found)
    splits: dict[int, set[str]] = {}
    for example in found:
        numbers = {int(number) // 10 for number in re.findall(r"\d+", str(example.record["masked"]))}
        splits.setdefault(numbers.pop(), set()).add(example.split)
    assert len(splits) == 40
    assert all(len(each) == 1 for each in splits.values())
    assert len({split for each in splits.values() for split in each}) > 1


def test_a_sample_is_drawn_by_its_seed_and_keeps_the_order(datasets: DatasetStore) -> None:
    put(datasets, pairs(200, split="train"))
    first = inputs(datasets.examples("d", split="train", n=7))
    assert first == [f"q{i}" for i in range(7)]
    drawn = [one.index for one in datasets.examples("d", split="train", n=20, seed=5)]
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 20
    assert drawn != list(range(20))
    assert drawn == [one.index for one in datasets.examples("d", n=20, seed=5)]
    assert drawn != [one.index for one in datasets.examples("d", n=20, seed=6)]
    assert len(list(datasets.examples("d", n=900, seed=1))) == 200
    assert list(datasets.examples("d", split="test")) == []
    with pytest.raises(InvalidRequest, match="n must be 1 or more; it is 0"):
        datasets.examples("d", n=0)


def test_a_peek_shows_a_few_and_says_where_it_goes_on(datasets: DatasetStore) -> None:
    put(datasets, pairs(5))
    first = datasets.peek("d", limit=3)
    assert (inputs(first.examples), first.next) == (["q0", "q1", "q2"], "2")
    rest = datasets.peek("d", limit=3, after=2, override=TemplateOverride(input="? {input}"))
    assert (inputs(rest.examples), rest.next) == (["? q3", "? q4"], None)
    assert rest.template == Template(input="? {input}", target="{target}")
    assert datasets.get("d").template == Template(input="{input}", target="{target}")


def test_a_peek_has_a_limit(datasets: DatasetStore) -> None:
    put(datasets, pairs(5, note="x" * 1000))
    assert len(datasets.peek("d", limit=2, max_bytes=2500).examples) == 2
    with pytest.raises(TooLarge, match="3 items exceed the limit of 2,500 bytes"):
        datasets.peek("d", limit=3, max_bytes=2500)


@pytest.mark.parametrize(
    "name",
    ["", "Upper", "a/b", "..", "x" * 65, "hub:", "hub:x", "hub:../etc", "hub:a/../b", "hub:/etc/x", "hub:a/b/c"],
)
def test_names_have_a_form(datasets: DatasetStore, name: str) -> None:
    for ask in (datasets.get, datasets.peek, datasets.delete, datasets.examples):
        with pytest.raises(InvalidRequest):
            ask(name)


def test_built_in_datasets_stand_beside_the_others(datasets: DatasetStore) -> None:
    put(datasets, pairs(2), name="a")
    put(datasets, pairs(2), name="z")
    names = [info.name for info in datasets.list_datasets().items]
    assert names == ["a", "demo-arithmetic", "demo-arithmetic-cot", "demo-cloze", "demo-qa", "demo-text", "z"]
    page = datasets.list_datasets(limit=3, after="demo-arithmetic")
    assert [info.name for info in page.items] == ["demo-arithmetic-cot", "demo-cloze", "demo-qa"]
    assert (page.has_more, page.next) == (True, "demo-qa")
    info = datasets.get("demo-qa")
    assert (info.builtin, info.created_at) == (True, None)
    for split, n in info.splits.items():
        assert len(list(datasets.examples("demo-qa", split=split))) == n
    drawn = list(datasets.examples("demo-qa", split="test", n=9, seed=2))
    assert len({one.index for one in drawn}) == 9
    assert {one.split for one in drawn} == {"test"}
    assert all(one.text for one in datasets.examples("demo-text", n=3))
    with pytest.raises(Conflict, match="is built in and cannot be deleted"):
        datasets.delete("demo-qa")
    with pytest.raises(Conflict, match="is built in; use another name"):
        put(datasets, pairs(2), name="demo-qa")


def test_without_their_folder_there_are_no_built_in_datasets(root: Path, tmp_path: Path) -> None:
    store = DatasetStore(ArtifactStore(str(root)), builtin=tmp_path / "none")
    assert store.list_datasets().items == []
    with pytest.raises(NotFound, match="There is no dataset 'demo-qa'"):
        store.get("demo-qa")


def test_deleting_leaves_nothing(datasets: DatasetStore, root: Path) -> None:
    put(datasets, pairs(20))
    datasets.delete("d")
    assert stored_files(root) == []
    for ask in (datasets.get, datasets.delete):
        with pytest.raises(NotFound):
            ask("d")


def damage(root: Path, *, part: str, change: Callable[[bytes], bytes]) -> None:
    (path,) = (path for path in stored_files(root) if path.name.endswith(part))
    path.write_bytes(change(path.read_bytes()))


def test_a_damaged_file_is_never_handed_out_to_the_end_and_is_mended_by_the_same_upload(
    datasets: DatasetStore, root: Path
) -> None:
    info, _ = put(datasets, pairs(50, split="train"))
    damage(root, part="_train.jsonl", change=lambda data: data.replace(b"q49", b"q48"))
    with pytest.raises(DamagedArtifact):
        list(datasets.examples("d"))
    with pytest.raises(DamagedArtifact):
        list(datasets.examples("d", split="train", n=3))
    assert put(datasets, pairs(50, split="train"))[1]
    assert inputs(datasets.examples("d"))[-1] == "q49"
    assert len(stored_files(root)) == 2
    assert datasets.get("d").sha256 == info.sha256


def test_a_damaged_manifest_hides_no_other_dataset_and_can_be_replaced_or_deleted(
    datasets: DatasetStore, root: Path
) -> None:
    put(datasets, pairs(5), name="a")
    damage(root, part="manifest.json", change=lambda data: data.replace(b"jsonl", b"jsonk", 1))
    put(datasets, pairs(5), name="b")
    assert "a" not in [info.name for info in datasets.list_datasets().items]
    assert "b" in [info.name for info in datasets.list_datasets().items]
    with pytest.raises(DamagedArtifact):
        datasets.get("a")
    assert put(datasets, pairs(7), name="a")[1]
    assert datasets.get("a").n_records == 7
    damage(root / "datasets" / "a", part="manifest.json", change=lambda data: data[:-9])
    datasets.delete("a")
    with pytest.raises(NotFound):
        datasets.get("a")


def test_two_stores_on_one_folder_see_each_other(root: Path, datasets: DatasetStore) -> None:
    other = DatasetStore(ArtifactStore(str(root)))
    info, _ = put(datasets, pairs(3))
    assert other.get("d") == info
    with pytest.raises(Conflict):
        put(other, pairs(4))


@pytest.mark.parametrize("n_contents", [1, 2])
def test_of_many_at_once_one_makes_the_dataset(datasets: DatasetStore, root: Path, n_contents: int) -> None:
    def upload(index: int) -> tuple[str, bool]:
        try:
            info, is_new = put(datasets, pairs(30, tag=f"t{index % n_contents}-"))
        except Conflict:
            return "refused", False
        return info.sha256, is_new

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(upload, range(8)))
    assert sum(is_new for _, is_new in answers) == 1
    kept = datasets.get("d").sha256
    assert sorted(sha256 == kept for sha256, _ in answers) == sorted(index % n_contents == 0 for index in range(8))
    assert len(list(datasets.examples("d"))) == 30
    assert len(stored_files(root)) == 1 + sum(1 for n in datasets.get("d").splits.values() if n)


def test_an_object_store_will_do(clock: SetClock) -> None:
    store = DatasetStore(ArtifactStore("memory://datasets-test", clock=clock), clock=clock)
    put(store, pairs(40))
    assert inputs(store.examples("d")) == [f"q{i}" for i in range(40)]
    store.delete("d")
    with pytest.raises(NotFound):
        store.get("d")


def test_the_real_files(datasets: DatasetStore) -> None:
    for name, format_, path in (
        ("squad", "squad", real_file("squad-en.json")),
        ("gsm8k", "gsm8k", real_file("gsm8k-train.jsonl")),
        ("maths", "deepmind-math", real_file("deepmind-math", "train-easy", "arithmetic__mul.txt")),
    ):
        with path.open("rb") as stream:
            info, _ = put(datasets, b"", name=name, format=format_, stream=stream)
        found = list(datasets.examples(name))
        assert len(found) == info.n_records
        assert all(one.input and one.target and one.answers for one in found)
        assert 0.7 < info.splits["train"] / info.n_records < 0.9
        assert all(info.splits.values())
