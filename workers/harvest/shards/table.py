"""Table of a shard: states, and metadata columns with the text, token and position of each row.

Columns have the same names in all formats:

    text_index   int64    number of the text in the harvest, from 0
    record       int64    number of its record in the dataset
    split, task  text     of the record; task may be missing
    text         text     the text as read
    position     int32    of the token, from 0                      ┐
    token_id     int64                                              │ if rows are tokens
    token        text     as it appears inside a text               │
    added        bool     special token added by the tokenizer      ┘
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.engine.shapes import Tensor
from service.store.maps.points import TextColumn, TextColumnBuilder
from workers.harvest.readers.reader import HarvestReader, Identity, Rows, Tokens
from workers.harvest.shards.plan import PlannedShard

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ShardTable:
    """One shard, ready for writing. header: JSON values stored as file metadata in all formats."""

    header: Mapping[str, Any]
    numbers: Mapping[str, Array]
    texts: Mapping[str, TextColumn]
    tensors: Mapping[str, Tensor]


def table_of(rows: Rows, *, shard: PlannedShard, reader: HarvestReader, run_id: str) -> ShardTable:
    """Build the table of a shard from its rows."""
    records = np.array([text.index for text in rows.texts], dtype=np.int64)
    numbers: dict[str, Array] = {"text_index": rows.owners + shard.first_text, "record": records[rows.owners]}
    texts = {
        name: _column([getattr(text, name) for text in rows.texts], rows.owners) for name in ("split", "task", "text")
    }
    if rows.tokens is not None:
        numbers |= {"position": rows.tokens.positions, "token_id": rows.tokens.ids, "added": rows.tokens.added}
        texts["token"] = _token_column(rows.tokens, reader)
    return ShardTable(
        header=_header(reader.identity, shard=shard, run_id=run_id), numbers=numbers, texts=texts, tensors=rows.tensors
    )


def _header(identity: Identity, *, shard: PlannedShard, run_id: str) -> dict[str, Any]:
    # Nothing here may depend on the worker or the time.
    return {
        "model": identity.model,
        "revision": identity.revision,
        "prompt": identity.prompt,
        **identity.metadata,
        "run_id": run_id,
        "shard": shard.number,
        "first_text": shard.first_text,
        "n_texts": shard.n_texts,
    }


def _column(values: list[str | None], owners: npt.NDArray[np.int64]) -> TextColumn:
    builder = TextColumnBuilder()
    builder.add(values)
    column = builder.column()
    return TextColumn(codes=column.codes[owners], values=column.values)


def _token_column(tokens: Tokens, reader: HarvestReader) -> TextColumn:
    distinct, codes = np.unique(tokens.ids, return_inverse=True)
    values = [reader.token_text(int(token_id)) for token_id in distinct]
    return TextColumn(codes=codes.astype(np.int32).reshape(-1), values=values)
