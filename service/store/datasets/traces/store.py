"""Store of datasets of samples: their records and their files of most probable tokens, in one artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.errors import Conflict, DamagedArtifact, InvalidRequest, NotFound
from service.store.artifacts.clock import Clock, utc_now, write_time
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.datasets.commits import commit_dataset
from service.store.datasets.files import DatasetFiles
from service.store.datasets.formats.jsonl import Jsonl
from service.store.datasets.formats.records import Record
from service.store.datasets.importer import Importer, SplitFiles, split_files
from service.store.datasets.items import DatasetInfo
from service.store.datasets.templates import TemplateOverride
from service.store.datasets.traces.top_tokens import TopTokens, TopTokensTable


class TopTokensReader:
    """Most probable tokens of the records of a dataset, by the index of the record. One file is in memory at a time.

    Args:
        artifact: The dataset.
        info: Its metadata.
    """

    def __init__(self, artifacts: ArtifactStore, *, artifact: Artifact, info: DatasetInfo) -> None:
        traces = info.traces or {}
        self._artifacts = artifacts
        self._artifact = artifact
        self._files: list[Mapping[str, Any]] = list(traces.get("top_tokens", ()))
        self._open: tuple[str, TopTokensTable] | None = None
        self.k: int = traces.get("logprobs") or 0
        self.n_rows: int = sum(file["n_rows"] for file in self._files)
        self.n_tokens: int = sum(file["n_tokens"] for file in self._files)

    def row(self, index: int) -> TopTokens:
        """The tokens of one record; IndexError if there is no such record, DamagedArtifact if its file is damaged."""
        file, table = self._table_of(index)
        first_row: int = file["first_row"]
        return table.rows[index - first_row]

    def vocabulary_of(self, index: int) -> tuple[str, ...] | None:
        """The texts that the ids of a record count; None: its ids are those of the model's tokenizer."""
        found = self._table_of(index)[1].vocabulary
        return None if found is None else tuple(found)

    def rows(self) -> Iterator[TopTokens]:
        """All records, file by file."""
        for file in self._files:
            yield from self._table(file).rows

    def _table_of(self, index: int) -> tuple[Mapping[str, Any], TopTokensTable]:
        for file in self._files:
            if file["first_row"] <= index < file["first_row"] + file["n_rows"]:
                return file, self._table(file)
        raise IndexError(f"expected the index of a record from 0 to {self.n_rows - 1}, got {index}")

    def _table(self, file: Mapping[str, Any]) -> TopTokensTable:
        name = file["file"]
        if self._open is None or self._open[0] != name:
            label = f"{name} of {self._artifact.label}"
            table = TopTokensTable.from_bytes(self._artifacts.read(self._artifact, name), label=label)
            if len(table.rows) != file["n_rows"]:
                raise DamagedArtifact(
                    f"{label} is damaged: it should have {file['n_rows']} rows, it has {len(table.rows)}."
                )
            self._open = (name, table)
        return self._open[1]


class TraceBuilder:
    """Files of a dataset that is being made: its records, and its files of most probable tokens."""

    def __init__(self, files: SplitFiles, *, folder: Path) -> None:
        self._files = files
        self._folder = folder
        self._n_rows = 0
        self.top_tokens: list[dict[str, Any]] = []

    def add_top_tokens(self, table: TopTokensTable) -> None:
        """Add the tokens of the next records."""
        name = f"top-tokens-{len(self.top_tokens):05d}.safetensors"
        path = self._folder / name
        path.write_bytes(table.to_bytes())
        self._files.paths[name] = path
        n_rows = len(table.rows)
        file = {"file": name, "first_row": self._n_rows, "n_rows": n_rows, "n_tokens": table.n_tokens}
        self.top_tokens.append(file)
        self._n_rows += n_rows


class TraceStore:
    """Datasets of samples.

    Args:
        artifacts: The artifact store.
        max_bytes: Limit for the stored records of one dataset.
        clock: Timestamps for ``created_at``.
    """

    def __init__(self, artifacts: ArtifactStore, *, max_bytes: int, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._files = DatasetFiles(artifacts)
        self._max_bytes = max_bytes
        self._clock = clock

    def create(
        self, name: str, *, records: Callable[[TraceBuilder], Iterable[Record]], facts: Mapping[str, Any]
    ) -> tuple[DatasetInfo, bool]:
        """Store a dataset, or return the existing one with the same records.

        Args:
            records: Called with the builder, which it gives the most probable tokens of the records that it yields.
            facts: ``traces`` of the metadata, without ``top_tokens``.

        Raises:
            InvalidRequest: There are no records, or a record is invalid.
            TooLarge: The records exceed the limit.
            Conflict: The name has another dataset.
        """
        with split_files() as files:
            builder = TraceBuilder(files, folder=files.folder)
            importer = Importer(files, override=TemplateOverride(), max_bytes=self._max_bytes)
            imported = importer.run(Jsonl(), records(builder))
            info = imported.as_info(name=name, file_format="jsonl", created_at=write_time(self._clock()))
            traces = {**facts, "top_tokens": builder.top_tokens}
            return commit_dataset(self._files, replace(info, traces=traces), paths=files.finish())

    def top_tokens(self, name: str) -> TopTokensReader:
        """Reader of the most probable tokens of a dataset.

        Raises:
            NotFound: There is no such dataset.
            InvalidRequest: It has no most probable tokens.
            DamagedArtifact: Its manifest is damaged.
        """
        found = self._files.find(name)
        if found is None:
            raise NotFound(f"There is no dataset {name!r}.")
        if not (found.info.traces or {}).get("top_tokens"):
            raise InvalidRequest(
                f"Expected a dataset with most probable tokens, as a generate run with logprobs makes it; {name!r} has none."
            )
        return TopTokensReader(self._artifacts, artifact=found.artifact, info=found.info)

    def require_free(self, name: str) -> None:
        """Raise Conflict if a dataset has this name."""
        if self._files.find(name) is not None:
            raise Conflict(f"Dataset {name!r} exists; delete it first, or use another name.", loc=("name",))
