"""Files of most probable tokens: for consecutive samples, what a model gave to each generated token.

A file is safetensors with these tensors; ``k`` is the number of most probable tokens:

    ids           int32 [n_tokens]        generated tokens; a token that ends the text is the last one
    logprobs      float32 [n_tokens]      their log-probabilities, NaN where unknown
    top_ids       int32 [n_tokens, k]     most probable tokens, in order; −1 where there are fewer
    top_logprobs  float32 [n_tokens, k]   their log-probabilities, −inf where there are fewer
    offsets       int64 [n_rows + 1]      sample i has the tokens from offsets[i] to offsets[i + 1]

Log-probabilities are nats of the model's own distribution. Ids are those of the model's tokenizer. A teacher outside returns
texts instead: ids then count the texts of the file's own vocabulary, which is in two more tensors:

    vocabulary.bytes    uint8 [m]         texts in UTF-8, concatenated
    vocabulary.offsets  int64 [v + 1]     text i is the bytes from offsets[i] to offsets[i + 1]

The header's ``promptatlas`` has ``k``, ``model``, ``revision``, ``tokenizer_sha256`` and ``teacher``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import DamagedArtifact, InvalidRequest, TooLarge
from service.store.artifacts.tensor_codec import decode, encode

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

NO_TOKEN = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class TopTokens:
    """One sample. ids, logprobs: `[n]`, of its tokens. top_ids, top_logprobs: `[n, k]`, of the most probable ones."""

    ids: Ints
    logprobs: Floats
    top_ids: Ints
    top_logprobs: Floats

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, kw_only=True)
class TopTokensTable:
    """Consecutive samples. vocabulary: texts of the ids; None: they are those of the model's tokenizer."""

    rows: Sequence[TopTokens]
    header: Mapping[str, Any]
    vocabulary: Sequence[str] | None = None

    @property
    def n_tokens(self) -> int:
        """Total of all samples."""
        return sum(map(len, self.rows))

    def to_bytes(self) -> bytes:
        """The table as a file. Deterministic."""
        k = int(self.header["k"])
        tensors: dict[str, npt.NDArray[Any]] = {
            "ids": _joined([row.ids for row in self.rows], shape=(0,), dtype=np.int32),
            "logprobs": _joined([row.logprobs for row in self.rows], shape=(0,), dtype=np.float32),
            "top_ids": _joined([row.top_ids for row in self.rows], shape=(0, k), dtype=np.int32),
            "top_logprobs": _joined([row.top_logprobs for row in self.rows], shape=(0, k), dtype=np.float32),
            "offsets": np.cumsum([0, *map(len, self.rows)], dtype=np.int64),
        }
        if self.vocabulary is not None:
            texts = [text.encode("utf-8", "replace") for text in self.vocabulary]
            tensors["vocabulary.bytes"] = np.frombuffer(b"".join(texts), dtype=np.uint8)
            tensors["vocabulary.offsets"] = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        return encode(tensors, metadata=dict(self.header))

    @classmethod
    def from_bytes(cls, data: bytes, *, label: str) -> TopTokensTable:
        """Inverse of ``to_bytes``; raises DamagedArtifact."""
        try:
            file = decode(data)
            tensors = file.tensors
            vocabulary = _vocabulary(tensors) if "vocabulary.bytes" in tensors else None
            rows = [
                TopTokens(
                    ids=tensors["ids"][start:end],
                    logprobs=tensors["logprobs"][start:end],
                    top_ids=tensors["top_ids"][start:end],
                    top_logprobs=tensors["top_logprobs"][start:end],
                )
                for start, end in pairwise(tensors["offsets"].tolist())
            ]
        except (InvalidRequest, TooLarge, KeyError, UnicodeDecodeError):
            raise DamagedArtifact(f"{label} is damaged: it is no file of most probable tokens.") from None
        return cls(rows=rows, header=file.metadata or {}, vocabulary=vocabulary)


def _joined(parts: Sequence[npt.NDArray[Any]], *, shape: tuple[int, ...], dtype: type[Any]) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(shape, dtype), *parts]).astype(dtype, copy=False)


def _vocabulary(tensors: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    joined, offsets = tensors["vocabulary.bytes"].tobytes(), tensors["vocabulary.offsets"].tolist()
    return [joined[start:end].decode() for start, end in pairwise(offsets)]
