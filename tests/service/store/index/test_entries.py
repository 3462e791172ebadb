"""Entries survive the names of their files."""

from __future__ import annotations

import pytest

from service.store.index.entries import Entry, NameEntry, RunEntry, TagEntry, entry_in, file_of


@pytest.mark.parametrize(
    "entry",
    [
        NameEntry(noun="prompt", name="qa.v2_x-1"),
        NameEntry(noun="dataset", name="hub:owner/na,me.json:con%fig"),
        RunEntry(run_id="run-1k10t9g4v3edf5mv8", kind="tune", status="succeeded", event_id=42),
        TagEntry(run_id="run-1k10t9g4v3edf5mv8", tag="paper:v1.0_b-2"),
    ],
)
def test_an_entry_is_read_from_the_name_of_its_file(entry: Entry) -> None:
    assert "/" not in file_of(entry)
    assert entry_in(file_of(entry)) == entry


@pytest.mark.parametrize(
    "file", ["", "epoch.json", "map,a.json", "run,a,b,c,d.json", "run,a,1,c.json", "prompt,a,b.json", "label,a,b.json"]
)
def test_other_names_are_no_entries(file: str) -> None:
    assert entry_in(file) is None
