"""Datasets: what is stored of one, how a record becomes input and target, and a look at its items."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from promptatlas.types.references import NAME_PATTERN, Sha256
from promptatlas.types.wire import ListPage, RequestBody, ResponseBody

DatasetFormat = Literal["jsonl", "squad", "gsm8k", "deepmind-math", "text"]
Split = Literal["train", "validation", "test"]

_HUB_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
DATASET_PATTERN = rf"{NAME_PATTERN}|^hub:{_HUB_PART}/{_HUB_PART}(:{_HUB_PART})?$"

DatasetRef = Annotated[str, StringConstraints(pattern=DATASET_PATTERN, max_length=320)]
"""Name of a stored or built-in dataset, or ``hub:owner/name`` with an optional ``:config``."""


class Template(RequestBody):
    """How a record becomes what the model reads: format strings over the record's fields, e.g. ``{context}\\n{question}``.

    A doubled brace is a brace. The model reads input followed by target, nothing added between.
    """

    input: str = Field(max_length=16_384)
    target: str = Field(max_length=16_384)


class DatasetManifest(ResponseBody):
    """What is known of one dataset.

    sha256: over its records and their splits, in order. n_bytes: of its records as stored. splits: how many records each
    has. template: None for running text, and where there is no default. fields: names that a template may use.
    created_at: None for what comes with the server. builtin: it comes with the server and cannot be deleted.
    """

    name: str
    format: DatasetFormat
    sha256: Sha256
    n_records: int
    n_bytes: int
    splits: dict[str, int]
    template: Template | None = None
    fields: list[str] = Field(default_factory=list)
    created_at: datetime | None = None
    builtin: bool = False


class DatasetItem(ResponseBody):
    """One record as the model gets it: input and target, or running text; what it has not is left out.

    answers: all that count as right. index: number of the record in the whole dataset, from 0. record: its fields, where
    they are more than the text.
    """

    input: str | None = None
    target: str | None = None
    text: str | None = None
    answers: list[str] | None = None
    split: str | None = None
    index: int | None = None
    record: dict[str, Any] | None = None


class DatasetPeek(ListPage[DatasetItem]):
    """The first items of a split, beside the manifest's fields. template: the one that made the items."""

    name: str
    format: DatasetFormat
    sha256: Sha256
    n_records: int
    n_bytes: int
    splits: dict[str, int]
    template: Template | None = None
    fields: list[str] = Field(default_factory=list)
    created_at: datetime | None = None
    builtin: bool = False
