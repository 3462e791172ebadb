"""Datasets: manifests, templates that turn records into inputs and targets, and previews of their items."""

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
    """Format strings over a record's fields that produce input and target, e.g. ``{context}\\n{question}``.

    A doubled brace is a literal brace. The model reads the input followed by the target, without a separator.
    """

    input: str = Field(max_length=16_384)
    target: str = Field(max_length=16_384)


class TopTokensFile(ResponseBody):
    """A file of a dataset of samples with the most probable tokens of consecutive records."""

    file: str
    first_row: int
    n_rows: int
    n_tokens: int


class TraceFacts(ResponseBody):
    """Where the samples of a dataset come from.

    model, revision, tokenizer_sha256: of the model that generated them; of a teacher, only the name is known.
    prompts: None is the model without a prompt. dataset: of the items. n_samples: number that the run requested; the dataset
    has those that it kept. logprobs: number of most probable tokens in ``top_tokens``; None: there are none.
    """

    run_id: str
    model: str
    revision: str | None = None
    tokenizer_sha256: str | None = None
    teacher: str | None = None
    prompts: list[str | None]
    dataset: str
    dataset_sha256: str
    n_samples: int
    logprobs: int | None = None
    top_tokens: list[TopTokensFile] = Field(default_factory=list)


class DatasetManifest(ResponseBody):
    """Facts of one dataset.

    sha256: over its records and their splits, in order. n_bytes: of its records as stored. splits: number of records per
    split. template: None for running text and for datasets without a default. fields: names that a template may use.
    builtin: the dataset is part of the server and cannot be deleted; its created_at is None.
    traces: of a dataset that a ``generate`` run has made.
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
    traces: TraceFacts | None = None


class DatasetItem(ResponseBody):
    """One record as the model reads it: input and target, or running text.

    answers: all correct answers. index: of the record in the whole dataset, from 0. record: its fields, if there are others
    than the text.
    """

    input: str | None = None
    target: str | None = None
    text: str | None = None
    answers: list[str] | None = None
    split: str | None = None
    index: int | None = None
    record: dict[str, Any] | None = None


class DatasetPeek(ListPage[DatasetItem]):
    """The first items of a split, and the fields of the manifest. template: the one that produced the items."""

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
    traces: TraceFacts | None = None
