"""Metadata of datasets, stored records, and examples as the model reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from promptatlas.types import DatasetFormat, Split, Template

from service.errors import DamagedArtifact, InvalidRequest, TooLarge
from service.store.datasets.formats.jsonl import is_answers
from service.store.datasets.templates import TemplatePatterns, field_text, parse_template


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Metadata of a dataset, with the fields of the wire contract.

    sha256: ``sha256:`` and hash over records and splits in order. n_bytes: of the stored records. splits: number of records
    by split. template: None for running text, and if there is no default. fields: names that a template can use, present
    in every record. created_at: RFC 3339, UTC; None for a built-in dataset. traces: of a dataset of samples, where they come
    from, with the fields of the wire contract.
    """

    name: str
    format: DatasetFormat
    sha256: str
    n_records: int
    n_bytes: int
    splits: Mapping[Split, int]
    template: Template | None
    fields: tuple[str, ...]
    created_at: str | None = None
    builtin: bool = False
    traces: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The metadata as JSON values, with the names of the wire contract."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        template = None if self.template is None else self.template.model_dump()
        traces = None if self.traces is None else dict(self.traces)
        return {
            **found,
            "splits": dict(self.splits),
            "fields": list(self.fields),
            "template": template,
            "traces": traces,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any], *, label: str) -> DatasetInfo:
        """Inverse of ``to_json``; raises DamagedArtifact if fields are missing. Unknown fields are ignored."""
        try:
            # Datasets of earlier versions have no traces.
            given = {"traces": None, **found}
            values = {item.name: given[item.name] for item in fields(cls)}
            values["template"] = None if values["template"] is None else Template.model_validate(values["template"])
        except (KeyError, ValueError):
            raise DamagedArtifact(f"{label} is damaged: its manifest has an unknown record_format.") from None
        return cls(**{**values, "fields": tuple(values["fields"])})


@dataclass(frozen=True, kw_only=True)
class StoredRecord:
    """One record. index: number in the whole dataset, from 0; fields: JSON values by name."""

    index: int
    split: Split
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Example:
    """One record as the model reads it: ``input`` and ``target``, or ``text``; the others are None.

    index: number of the record in the whole dataset, from 0. answers: all that count as correct; the stripped target if the
    record has none, empty for running text. record: fields of the record.
    """

    index: int
    split: Split
    input: str | None
    target: str | None
    text: str | None
    answers: tuple[str, ...]
    record: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Peek:
    """The first examples of a dataset. template: the template used; next: cursor of the following examples."""

    info: DatasetInfo
    template: Template | None
    examples: Sequence[Example]
    next: str | None


def make_examples(records: Iterable[StoredRecord], *, patterns: TemplatePatterns | None) -> Iterator[Example]:
    """Convert records to examples; without a template, to running text."""
    for record in records:
        yield _running_text(record) if patterns is None else _filled_in(record, patterns=patterns)


def patterns_of(
    info: DatasetInfo, *, template: Template | None, loc: tuple[str | int, ...] = ("template",)
) -> TemplatePatterns | None:
    """Parse the given template or the dataset's own; None for running text.

    Raises:
        InvalidRequest: The template does not fit the dataset, or the dataset needs one and has none.
    """
    chosen = template if template is not None else info.template
    if chosen is not None:
        return parse_template(chosen, fields=info.fields, loc=loc)
    if "text" not in info.fields:
        names = ", ".join(f"{{{name}}}" for name in info.fields) or "none"
        raise InvalidRequest(f"Dataset {info.name!r} needs a template. The fields there are: {names}.", loc=loc)
    return None


def bare_example(record: StoredRecord) -> Example:
    """An example without a template: only the fields of the record."""
    return Example(
        index=record.index, split=record.split, input=None, target=None, text=None, answers=(), record=record.fields
    )


def within(examples: Iterable[Example], *, max_bytes: int) -> Iterator[Example]:
    """Pass examples through; raises TooLarge once they exceed ``max_bytes`` together."""
    n_bytes = 0
    for number, example in enumerate(examples, start=1):
        texts = (json.dumps(example.record), example.input, example.target, example.text)
        n_bytes += sum(len(text.encode("utf-8")) for text in texts if text)
        if n_bytes > max_bytes:
            raise TooLarge(
                f"{number} items exceed the limit of {max_bytes:,} bytes per response; request fewer with "
                "'limit', or shorten them with the templates 'input' and 'target'."
            )
        yield example


def _running_text(record: StoredRecord) -> Example:
    return replace(bare_example(record), text=field_text(record.fields["text"]))


def _filled_in(record: StoredRecord, *, patterns: TemplatePatterns) -> Example:
    target = patterns.target.render(record.fields)
    answers = record.fields.get("answers")
    return replace(
        bare_example(record),
        input=patterns.input.render(record.fields),
        target=target,
        answers=tuple(answers) if is_answers(answers) else (target.strip(),),
    )
