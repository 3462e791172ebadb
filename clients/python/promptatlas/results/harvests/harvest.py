"""A harvest: activations of a dataset and the tokens they belong to, read shard by shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.results.harvests.activations_store import ActivationsStore, Shuffle, StoreOptions
from promptatlas.results.harvests.files import Fetch, ShardFiles
from promptatlas.results.harvests.shards import COLUMNS, Shard, open_shard
from promptatlas.results.harvests.tables import dataset_of
from promptatlas.results.tensors.frames import frame
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
    """One row. states: `[…]`, without the first dimension. position, token, token_id, added: None if rows are texts."""

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
    """The result of a harvest run. It is a context manager, which deletes temporary files on exit.

    Names of tensors are those of an ActivationCache: ``"resid_post.3"``, ``("resid_post", 3)``, ``"blocks.3.hook_resid_post"``.

    Args:
        manifest: tensors and shards.
        folder: where shards are kept; None: a temporary folder.
        fetch: downloads a missing shard; None: missing shards are an error.
    """

    def __init__(self, manifest: HarvestManifest, *, folder: Path | None, fetch: Fetch | None) -> None:
        self.manifest = manifest
        self._files = ShardFiles(manifest.shards, folder=folder, fetch=fetch)
        self._texts: list[str] | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A harvest in a folder written by ``run.download_all`` or ``run.open(cache=…)``. Requires no server.

        Raises:
            UnexpectedAnswerError: the manifest is invalid.
        """
        path = Path(folder)
        return cls(read_manifest((path / MANIFEST).read_bytes()), folder=path, fetch=None)

    @property
    def folder(self) -> Path:
        """Folder of the files."""
        return self._files.folder

    @property
    def n_rows(self) -> int:
        """Number of rows in all shards."""
        return self.manifest.n_rows

    @property
    def n_texts(self) -> int:
        """Number of texts in all shards."""
        return self.manifest.n_texts

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return len(self.manifest.shards)

    def keys(self) -> list[str]:
        """Names of the tensors."""
        return list(self.manifest.tensors)

    def shape(self, key: Key) -> tuple[int, ...]:
        """The shape of a tensor over all shards, without reading it."""
        return (self.n_rows, *self.manifest.tensors[self.name(key)])

    def name(self, key: Key) -> str:
        """The canonical name of a tensor. Raises KeyError, which lists the tensors."""
        name = canonical(key, names=self.manifest.tensors)
        if name not in self.manifest.tensors:
            raise KeyError(f"no tensor {name!r}; there are {', '.join(self.keys())}")
        return name

    def shard(self, number: int) -> Shard:
        """One shard, which is fetched if it is missing."""
        return open_shard(self._files.path(number), shapes=self.manifest.tensors)

    def has_shard(self, number: int) -> bool:
        """Whether the file of a shard exists."""
        return self._files.has(number)

    def blocks(self, key: Key) -> Iterator[Array]:
        """A tensor in blocks `[n_rows of a shard, …]`, one a shard."""
        name = self.name(key)
        return (self.shard(number).states(name) for number in range(self.n_shards))

    def tensor(self, key: Key) -> Array:
        """A tensor `[n_rows, …]`, in memory."""
        return np.concatenate(list(self.blocks(key)))

    def __getitem__(self, key: Key) -> Array:
        """Same as ``tensor``."""
        return self.tensor(key)

    def column(self, name: str) -> Array | None:
        """A column that describes each row: ``text_index``, ``record``, ``split``, ``task``, ``text``. If rows are tokens, also
        ``position``, ``token_id``, ``token`` and ``added`` (True for special tokens of the tokenizer); otherwise these are None.
        """
        if name not in COLUMNS:
            raise KeyError(f"no column {name!r}; there are {', '.join(COLUMNS)}")
        parts = [self.shard(number).column(name) for number in range(self.n_shards)]
        found = [part for part in parts if part is not None]
        return np.concatenate(found) if found else None

    @property
    def texts(self) -> list[str]:
        """The texts, in order; ``text_index`` of a row is an index into them. The first access reads all shards."""
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
        """Each row of a tensor with its columns, read lazily.

        Args:
            site: the name of a tensor, or of a site with ``layer``.
        """
        name = self.name((site, layer) if isinstance(site, str) and layer is not None else site)
        return (row for number in range(self.n_shards) for row in _rows_of(self.shard(number), name))

    def activations_store(
        self,
        site: Key | list[Key] | list[str] | list[tuple[str, int]],
        layer: int | None = None,
        *,
        batch_size: int = 4096,
        shuffle: Shuffle = False,
        seed: int = 0,
        skip_added: bool = False,
        n_mixed: int = 4,
    ) -> ActivationsStore:
        """Batches `[batch_size, d]`, as used to train sparse autoencoders.

        Args:
            site: a tensor, or a list of tensors, whose batches are dicts by name with rows of the same tokens.
            shuffle: use another order in each epoch, given by ``seed``. True: shards in random order, and rows shuffled among
                ``n_mixed`` shards at a time. ``global``: all rows in random order; needs 8 bytes of memory a row, and reads
                rows of all shards for each batch.
            skip_added: omit special tokens of the tokenizer, such as a beginning-of-text token.
            n_mixed: number of shards that are shuffled together, and in memory at once.
        """
        keys = (
            site if isinstance(site, list) else [(site, layer) if isinstance(site, str) and layer is not None else site]
        )
        if not keys or (isinstance(site, list) and layer is not None):
            raise ValueError("site: expected a tensor, or a list of at least one tensor without layer")
        options = StoreOptions(
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            skip_added=skip_added,
            n_mixed=n_mixed,
            is_single=not isinstance(site, list),
        )
        return ActivationsStore(self, [self.name(key) for key in keys], options=options)

    def to_pandas(self, *keys: Key) -> pandas.DataFrame:
        """A frame with the columns of each row, then the values of the tensors; without keys, of all. Requires pandas."""
        names = [self.name(key) for key in keys] if keys else self.keys()
        return frame({name: self.column(name) for name in COLUMNS}, {name: self.tensor(name) for name in names})

    def to_dataset(self, *keys: Key) -> datasets.Dataset:
        """A Hugging Face dataset with a feature for each column and tensor; without keys, for all. Requires datasets.

        Activations are memory-mapped from the shards, not copied: keep this object as long as the dataset is used.
        """
        names = [self.name(key) for key in keys] if keys else self.keys()
        return dataset_of(self, names)

    def close(self) -> None:
        """Deletes temporary files. Arrays read before stay valid."""
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
    """The validated content of ``manifest.json``. Raises UnexpectedAnswerError."""
    try:
        return HarvestManifest.model_validate_json(content)
    except pydantic.ValidationError as error:
        raise UnexpectedAnswerError(f"expected the manifest of a harvest: {error}") from error


def folder_in(cache: str | Path | None, manifest: HarvestManifest, content: bytes) -> Path | None:
    """The folder of the harvest in a cache, with the manifest; None without a cache."""
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
