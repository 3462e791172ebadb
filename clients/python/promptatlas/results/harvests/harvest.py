"""A harvest as an object: its states and what they are of, read shard by shard as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.results.harvests.activations_store import ActivationsStore
from promptatlas.results.harvests.files import Fetch, ShardFiles
from promptatlas.results.harvests.shards import COLUMNS, Shard, open_shard
from promptatlas.results.tensors.names import Key, canonical
from promptatlas.results.tensors.tensor_file import Array
from promptatlas.types import HarvestManifest

if TYPE_CHECKING:
    import datasets
    import pandas
    from typing_extensions import Self

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class HarvestRow:
    """One row. states: `[…]`, without the first dimension. position, token, token_id, added: None where a row is a text."""

    states: Array
    text_index: int
    record: int
    split: str | None
    task: str | None
    text: str
    position: int | None = None
    token_id: int | None = None
    token: str | None = None
    added: bool | None = None


class Harvest:
    """All that a harvest run has left. It is a context manager: on leaving it, files that nobody named are deleted.

    Tensors are named as in activations: ``"resid_post.3"``, ``("resid_post", 3)``, ``"blocks.3.hook_resid_post"``.

    Args:
        manifest: what there is.
        folder: where shards are kept; None: a temporary one.
        fetch: gets a shard that is not there.
    """

    def __init__(self, manifest: HarvestManifest, *, folder: Path | None, fetch: Fetch | None) -> None:
        self.manifest = manifest
        self._files = ShardFiles(manifest.shards, folder=folder, fetch=fetch)
        self._texts: list[str] | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A harvest in a folder, as ``run.download_all`` or ``run.open(cache=…)`` have left it; needs no server.

        Raises:
            UnexpectedAnswerError: its manifest is none.
        """
        path = Path(folder)
        return cls(read_manifest((path / MANIFEST).read_bytes()), folder=path, fetch=None)

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self._files.folder

    @property
    def n_rows(self) -> int:
        """Rows in all shards."""
        return self.manifest.n_rows

    @property
    def n_texts(self) -> int:
        """Texts in all shards."""
        return self.manifest.n_texts

    @property
    def n_shards(self) -> int:
        """Shards that there are."""
        return len(self.manifest.shards)

    def keys(self) -> list[str]:
        """Names of the tensors."""
        return list(self.manifest.tensors)

    def shape(self, key: Key) -> tuple[int, ...]:
        """The shape of a tensor over all shards, without reading anything."""
        return (self.n_rows, *self.manifest.tensors[self.name(key)])

    def name(self, key: Key) -> str:
        """A tensor's own name; KeyError names those that there are."""
        name = canonical(key)
        if name not in self.manifest.tensors:
            raise KeyError(f"no tensor {name!r}; there are {', '.join(self.keys())}")
        return name

    def shard(self, number: int) -> Shard:
        """One shard, fetched now if need be."""
        return open_shard(self._files.path(number), shapes=self.manifest.tensors)

    def has_shard(self, number: int) -> bool:
        """Whether a shard is on this machine already."""
        return self._files.has(number)

    def blocks(self, key: Key) -> Iterator[Array]:
        """A tensor shard by shard, `[n_rows of the shard, …]` each."""
        name = self.name(key)
        return (self.shard(number).states(name) for number in range(self.n_shards))

    def tensor(self, key: Key) -> Array:
        """A whole tensor `[n_rows, …]` in memory."""
        return np.concatenate(list(self.blocks(key)))

    def __getitem__(self, key: Key) -> Array:
        """As ``tensor``."""
        return self.tensor(key)

    def column(self, name: str) -> Array | None:
        """What is known of each row: ``text_index``, ``record``, ``split``, ``task``, ``text``; of tokens also ``position``,
        ``token_id``, ``token`` and ``added`` (the tokenizer's, not the text's), which are None where rows are texts.
        """
        if name not in COLUMNS:
            raise KeyError(f"no column {name!r}; there are {', '.join(COLUMNS)}")
        parts = [self.shard(number).column(name) for number in range(self.n_shards)]
        there = [part for part in parts if part is not None]
        return np.concatenate(there) if there else None

    @property
    def texts(self) -> list[str]:
        """The texts that were read, in order; ``text_index`` of a row is an index in it. Goes through all shards once."""
        if self._texts is None:
            found: dict[int, str] = {}
            for number in range(self.n_shards):
                shard = self.shard(number)
                index, text = _required(shard, "text_index"), _required(shard, "text")
                first = np.unique(index, return_index=True)
                found |= {int(i): str(text[at]) for i, at in zip(*first, strict=True)}
            self._texts = [found[i] for i in range(len(found))]
        return self._texts

    def rows(self, site: Key, layer: int | None = None) -> Iterator[HarvestRow]:
        """Each row of a tensor with what it is of, read on as it is gone through.

        Args:
            site: a tensor's name, or a site's with ``layer``.
        """
        name = self.name((site, layer) if isinstance(site, str) and layer is not None else site)
        return (row for number in range(self.n_shards) for row in _rows_of(self.shard(number), name))

    def activations_store(
        self,
        site: Key,
        layer: int | None = None,
        *,
        batch_size: int = 4096,
        shuffle: bool = False,
        seed: int = 0,
        skip_added: bool = False,
        n_mixed: int = 4,
    ) -> ActivationsStore:
        """Batches `[batch_size, d]` of one tensor, as those who train autoencoders on activations know them.

        Args:
            shuffle: in another order each time, by ``seed``: shards in random order, and rows mixed among ``n_mixed``
                shards at a time.
            skip_added: leave out tokens that the tokenizer has added, such as a beginning of text.
            n_mixed: so many shards are in memory at once.
        """
        name = self.name((site, layer) if isinstance(site, str) and layer is not None else site)
        return ActivationsStore(
            self, name, batch_size=batch_size, shuffle=shuffle, seed=seed, skip_added=skip_added, n_mixed=n_mixed
        )

    def to_pandas(self, *keys: Key) -> pandas.DataFrame:
        """One line a row: its columns, then the values of the tensors (all without keys). Needs pandas."""
        from promptatlas.results.tensors.frames import frame

        names = [self.name(key) for key in keys] if keys else self.keys()
        return frame({name: self.column(name) for name in COLUMNS}, {name: self.tensor(name) for name in names})

    def to_dataset(self, *keys: Key) -> datasets.Dataset:
        """A Hugging Face dataset: a feature for each column and tensor (all without keys). Needs datasets.

        States are mapped from the shards' files, not copied; keep this object as long as the dataset is used.
        """
        from promptatlas.results.harvests.tables import dataset_of

        names = [self.name(key) for key in keys] if keys else self.keys()
        return dataset_of(self, names)

    def close(self) -> None:
        """Deletes the files if nobody named them; arrays already taken stay valid."""
        self._files.close()

    def __len__(self) -> int:
        return self.n_rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Harvest(run_id={self.manifest.run_id!r}, n_rows={self.n_rows}, n_texts={self.n_texts}, tensors={self.keys()})"


def read_manifest(content: bytes) -> HarvestManifest:
    """``manifest.json``, checked; UnexpectedAnswerError."""
    try:
        return HarvestManifest.model_validate_json(content)
    except pydantic.ValidationError as error:
        raise UnexpectedAnswerError(f"expected the manifest of a harvest: {error}") from error


def folder_in(cache: str | Path | None, manifest: HarvestManifest, content: bytes) -> Path | None:
    """The harvest's own folder in a cache, with its manifest in it; None without a cache."""
    if cache is None:
        return None
    folder = Path(cache) / manifest.run_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_bytes(content)
    return folder


def _required(shard: Shard, name: str) -> Array:
    column = shard.column(name)
    if column is None:
        raise UnexpectedAnswerError(f"expected a column {name!r} in every shard of a harvest")
    return column


def _rows_of(shard: Shard, name: str) -> Iterator[HarvestRow]:
    columns: dict[str, Sequence[Any]] = {
        column: values.tolist() for column in COLUMNS if (values := shard.column(column)) is not None
    }
    for at, states in enumerate(shard.states(name)):
        yield HarvestRow(states=states, **{column: values[at] for column, values in columns.items()})
