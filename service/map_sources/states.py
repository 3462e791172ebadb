"""From the tensors of a capture to rows of states: one row per own token of each text, or one mean per text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from service.map_sources.texts import Text
from service.store.maps.store import site_of

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Per = Literal["text", "token"]


@dataclass(frozen=True, kw_only=True)
class States:
    """States of one batch of texts, without those of added tokens.

    vectors: float32 `[n, d_model]` by layer. rows: `[n]`, index into ``texts``. positions, token_ids: `[n]`, index in the
    text's tokens and the token there; None where a row is the mean of a text.
    """

    texts: Sequence[Text]
    vectors: Mapping[int, Floats]
    rows: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int32] | None = None
    token_ids: npt.NDArray[np.int64] | None = None


def states_of(texts: Sequence[Text], tensors: Mapping[str, Array], *, layers: Sequence[int], per: Per) -> States:
    """Select the rows of own tokens.

    Args:
        texts: each with at least one own token.
        tensors: of a capture of all their tokens, by the names of the wire contract: one tensor for each of ``layers``,
            ``positions`` and ``token_ids``.
    """
    own = np.array([flag for text in texts for flag in text.own])
    rows = np.repeat(np.arange(len(texts)), [text.n_own for text in texts])
    vectors: dict[int, Floats] = {layer: tensors[site_of(layer)][own] for layer in layers}
    if per == "text":
        means = {layer: _means(states, rows=rows, n=len(texts)) for layer, states in vectors.items()}
        return States(texts=texts, vectors=means, rows=np.arange(len(texts)))
    return States(
        texts=texts,
        vectors=vectors,
        rows=rows,
        positions=tensors["positions"][own].astype(np.int32),
        token_ids=tensors["token_ids"][own].astype(np.int64),
    )


def _means(states: Floats, *, rows: npt.NDArray[np.int64], n: int) -> Floats:
    counts = np.bincount(rows, minlength=n)
    starts = np.concatenate([[0], counts.cumsum()[:-1]])
    sums = np.add.reduceat(states, starts, axis=0, dtype=np.float64)
    means: Floats = (sums / counts[:, None]).astype(np.float32)
    return means
