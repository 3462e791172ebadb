"""Entries of the index, and the names of the files by which writers announce them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import quote, unquote

Noun = Literal["prompt", "dataset"]
"""Objects that are listed by name, without filters."""

UNKNOWN = "?"
"""Kind and status of a run whose files are damaged: every filter selects it, and the files decide."""

DELETED = "deleted"

_NOUNS: tuple[str, ...] = get_args(Noun)
_SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True)
class NameEntry:
    """A name of a prompt or a dataset. It may have no version yet, or none any more."""

    noun: Noun
    name: str


@dataclass(frozen=True, kw_only=True)
class RunEntry:
    """A run. event_id: id of the first event of a chunk of its log that has this status; larger ids are newer."""

    run_id: str
    kind: str
    status: str
    event_id: int


@dataclass(frozen=True, kw_only=True)
class TagEntry:
    """A tag that a run has, is about to have, or had."""

    run_id: str
    tag: str


Entry = NameEntry | RunEntry | TagEntry


def file_of(entry: Entry) -> str:
    """Name of the file that announces ``entry``. A comma separates the fields, since quoted fields have none."""
    if isinstance(entry, NameEntry):
        return f"{entry.noun},{quote(entry.name, safe='')}{_SUFFIX}"
    if isinstance(entry, TagEntry):
        return f"tag,{entry.run_id},{quote(entry.tag, safe='')}{_SUFFIX}"
    return f"run,{entry.run_id},{entry.event_id},{quote(entry.kind, safe='')},{entry.status}{_SUFFIX}"


def entry_in(file: str) -> Entry | None:
    """Inverse of ``file_of``; None for any other name, for example of a later version."""
    fields = file.removesuffix(_SUFFIX).split(",")
    if len(fields) == 2 and fields[0] in _NOUNS:
        noun: Noun = "prompt" if fields[0] == "prompt" else "dataset"
        return NameEntry(noun=noun, name=unquote(fields[1]))
    if len(fields) == 3 and fields[0] == "tag":
        return TagEntry(run_id=fields[1], tag=unquote(fields[2]))
    if len(fields) == 5 and fields[0] == "run" and fields[2].isdecimal():
        return RunEntry(run_id=fields[1], event_id=int(fields[2]), kind=unquote(fields[3]), status=fields[4])
    return None
