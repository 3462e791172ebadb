"""Splits by groups, templates of records, and the upload."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from demo.real.datasets import RealDataset, shuffled, split_groups


def test_each_group_is_in_one_split_with_the_given_shares() -> None:
    splits = split_groups([i % 50 for i in range(500)], seed=3)
    counts = {split: list(splits.values()).count(split) for split in ("train", "validation", "test")}
    assert counts == {"train": 35, "validation": 5, "test": 10}
    assert sorted(splits) == list(range(50))


def test_the_seed_decides_the_split() -> None:
    groups = list("abcdefghijklmnopqrst")
    assert split_groups(groups, seed=1) == split_groups(groups, seed=1)
    assert split_groups(groups, seed=1) != split_groups(groups, seed=2)


def test_no_split_is_empty() -> None:
    assert sorted(split_groups(["a", "b", "c", "a"], seed=0).values()) == ["test", "train", "validation"]
    with pytest.raises(ValueError, match="expected at least 3 groups to split, got 2"):
        split_groups(["a", "b", "a"], seed=0)


def test_shuffling_keeps_the_records() -> None:
    records = [{"i": i} for i in range(20)]
    assert shuffled(records, seed=1) == shuffled(records, seed=1)
    assert shuffled(records, seed=1) != tuple(records)
    assert sorted(record["i"] for record in shuffled(records, seed=1)) == list(range(20))


def test_a_record_becomes_input_and_target() -> None:
    record = {"q": "Who?", "a": "Ana", "split": "test"}
    one = RealDataset(name="d", records=(record,), template={"input": "{q}\nA:", "target": " {a}"})
    assert one.text(record) == ("Who?\nA:", " Ana")
    assert one.of("test") == (record,)
    assert one.of("train") == ()
    assert RealDataset(name="t", records=()).text({"text": "Once."}) == ("", "Once.")


def test_the_upload_has_records_and_template() -> None:
    sent: dict[str, Any] = {}
    client: Any = SimpleNamespace(datasets=SimpleNamespace(upload=lambda name, **rest: sent.update(rest, name=name)))
    RealDataset(name="d", records=({"text": "a", "split": "test"},)).upload(client)
    assert sent == {"name": "d", "records": ({"text": "a", "split": "test"},), "template": None}
