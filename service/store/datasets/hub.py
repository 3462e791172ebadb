"""Datasets of the Hugging Face hub. The library ``datasets`` is imported on first use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from promptatlas.types import DatasetFormat, Split, Template

from service.errors import AtlasError, HubUnreachable, InvalidRequest, NotFound
from service.store.datasets.formats import gsm8k, jsonl, squad
from service.store.datasets.formats.locations import Location
from service.store.datasets.formats.records import Record, split_named
from service.store.prompts.manifests import check_name

PREFIX: Final = "hub:"

HubRows = Mapping[str, Iterable[Mapping[str, Any]]]
"""Rows by the names of splits on the hub."""

LoadRows = Callable[[str, str | None], HubRows]
"""Loads the rows of ``owner/name`` and a configuration."""

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"hub:(?P<repository>{_PART}/{_PART})(:(?P<config>{_PART}))?")
_MAX_DEPTH = 16
_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class HubName:
    """A parsed name. repository: ``owner/name``."""

    repository: str
    config: str | None


def is_hub_name(name: str) -> bool:
    """Whether ``name`` is the name of a hub dataset."""
    return name.startswith(PREFIX)


def parse_hub_name(name: str) -> HubName:
    """Parse ``hub:owner/name`` or ``hub:owner/name:config``; InvalidRequest for any other text."""
    match = _NAME.fullmatch(name)
    if match is None or ".." in name:
        raise InvalidRequest(
            f"The name of a hub dataset is hub:owner/name or hub:owner/name:config; got {name[:120]!r}.",
            loc=("name",),
        )
    return HubName(repository=match["repository"], config=match["config"])


def check_dataset_name(name: str) -> None:
    """Raise InvalidRequest for what is neither a name of a hub dataset nor one of a stored dataset."""
    if is_hub_name(name):
        parse_hub_name(name)
    else:
        check_name(name)


def load_rows(repository: str, config: str | None) -> HubRows:
    """Stream the rows with Hugging Face ``datasets``; no code of the dataset is run.

    Raises:
        InvalidRequest: The library is not installed, or cannot load this dataset or configuration.
        NotFound: The hub has no such dataset, or access is denied.
        HubUnreachable: The hub cannot be reached.
    """
    try:
        import datasets
        from huggingface_hub import get_session
    except ImportError:
        raise InvalidRequest(
            "Hub datasets need the Hugging Face library 'datasets', which is not installed on this server: "
            "pip install 'promptatlas[hub]', or upload the dataset.",
            loc=("name",),
        ) from None
    # Without a timeout, Hugging Face's HTTP client waits forever for a connection.
    get_session().timeout = _TIMEOUT_S
    # With the scheme, because a bare owner/name could also be a local folder.
    with _HubErrors(repository, config=config):
        found = datasets.load_dataset(f"hf://datasets/{repository}", name=config, streaming=True)
    return {str(split): _with_hub_errors(rows, repository=repository, config=config) for split, rows in found.items()}


class HubReader:
    """Converts rows of the hub to records: rows like SQuAD or GSM8K in these formats, others as ``jsonl``.

    Args:
        rows: Result of ``load_rows``. The splits train, validation and test are used. If a dataset has a single split, its
            records are split by hash. Other splits are ignored.
    """

    def __init__(self, rows: HubRows, *, name: str) -> None:
        known = {split: split_named(split) for split in rows}
        self._rows = {split: rows[split] for split, ours in known.items() if ours is not None}
        if len(rows) == 1:
            self._rows = dict(rows)
        if not self._rows:
            listed = ", ".join(sorted(split[:40] for split in rows)[:20]) or "none"
            raise InvalidRequest(f"{name} has no split train, validation or test; it has: {listed}.")
        self.name: DatasetFormat = "jsonl"

    def records(self) -> Iterator[Record]:
        """All rows, ordered by split."""
        for split, rows in self._rows.items():
            ours: Split | None = split_named(split) if len(self._rows) > 1 else None
            for index, row in enumerate(rows):
                location = Location(f"Row {index} of {split}", (split, index))
                yield Record(location=location, fields=self._fields_of(row, location=location), split=ours)

    def default_template(self, record: Record) -> Template | None:
        templates = {"squad": squad.TEMPLATE, "gsm8k": gsm8k.TEMPLATE}
        return templates.get(self.name, jsonl.PAIR if jsonl.has_pair(record.fields) else None)

    def _fields_of(self, row: Mapping[str, Any], *, location: Location) -> dict[str, Any]:
        fields = {str(name): _plain(value, depth=1) for name, value in row.items()}
        answers = fields.get("answers")
        if isinstance(fields.get("context"), str) and isinstance(answers, dict) and "text" in answers:
            self.name = "squad"
            return squad.row_record(fields, location=location)
        if gsm8k.is_gsm8k(fields):
            self.name = "gsm8k"
            return gsm8k.split_answer(fields, location=location)
        return fields


def _plain(value: Any, *, depth: int) -> Any:
    """The value as JSON; images, audio, dates and other types without a JSON form become null."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if abs(value) != float("inf") and value == value else None
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {str(name): _plain(inner, depth=depth + 1) for name, inner in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple):
        return [_plain(inner, depth=depth + 1) for inner in value]
    return None


def _with_hub_errors(
    rows: Iterable[Mapping[str, Any]], *, repository: str, config: str | None
) -> Iterator[Mapping[str, Any]]:
    with _HubErrors(repository, config=config):
        yield from rows


class _HubErrors:
    """Translates errors of the library, whose messages may have URLs and paths."""

    def __init__(self, repository: str, *, config: str | None) -> None:
        self._repository = repository
        self._config = config

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, AtlasError):
            return
        names = {base.__name__ for base in type(error).__mro__}
        if names & {"DatasetNotFoundError", "RepositoryNotFoundError"}:
            raise NotFound(f"The hub has no dataset {self._repository!r} that this server may read.") from error
        if names & {"ConnectionError", "OfflineModeIsEnabled", "TimeoutError", "HTTPError", "ConnectError", "Timeout"}:
            raise HubUnreachable("The Hugging Face hub could not be reached.", retry_after_s=30.0) from error
        raise InvalidRequest(self._load_error(error), loc=("name",)) from error

    def _load_error(self, error: Exception) -> str:
        known = ", ".join(dict.fromkeys(re.findall(rf"'({_PART})'", str(error)))) if "onfig" in str(error) else ""
        requested = f"{self._repository!r}" + (f" with configuration {self._config!r}" if self._config else "")
        hint = f" Its error names these configurations: {known}." if known else ""
        return f"Hugging Face 'datasets' could not load {requested} ({type(error).__name__}).{hint}"
