"""Interface of harvest readers: texts in, rows of states out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from service.engine.activations.positions import chosen_positions
from service.engine.requests import Positions
from service.engine.shapes import Tensor
from service.errors import InvalidRequest
from service.map_sources.texts import Text

if TYPE_CHECKING:
    from service.store.datasets.items import Example

RowKind = Literal["token", "text"]
Shapes = Mapping[str, tuple[int, ...]]
"""Shape of one row by tensor name, as in the wire contract."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Model and prompt that are read. revision: of the weights. prompt, prompt_sha256: reference and content; None: bare model.

    metadata: description of the model in result headers, as in the wire contract.
    """

    model: str
    revision: str
    prompt: str | None = None
    prompt_sha256: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Position (int32) and id (int64) of the token of each row `[n_rows]`; added: special token added by the tokenizer."""

    positions: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int64]
    added: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of some texts, in order. owners: int64 `[n_rows]`, index in ``texts``. tokens: None if each row is a text."""

    texts: Sequence[Text]
    tensors: Mapping[str, Tensor]
    owners: npt.NDArray[np.int64]
    tokens: Tokens | None


class HarvestReader(Protocol):
    """Reads states of one model with one capture spec."""

    @property
    def identity(self) -> Identity:
        """Model and prompt that are read."""

    @property
    def row_kind(self) -> RowKind:
        """Whether a row is a token or a text."""

    @property
    def itemsize(self) -> int:
        """Bytes per value."""

    def encode(self, examples: Sequence[Example]) -> list[Text | None]:
        """One text per example; None if it has nothing to read or exceeds the context."""

    def n_tokens(self, text: Text) -> int:
        """Number of tokens that the model reads for a text."""

    def n_rows(self, text: Text) -> int:
        """Number of rows of a text."""

    def shapes(self, *, longest: int) -> Shapes:
        """Row shapes of all tensors if the longest text has ``longest`` tokens."""

    def read(self, texts: Sequence[Text], *, longest: int) -> Rows:
        """Rows of these texts, not batched with others. Deterministic."""

    def token_text(self, token_id: int) -> str:
        """Text of a token as it appears inside a text, with its leading space."""


def rows_of(positions: Positions, *, n_tokens: int) -> tuple[int, ...]:
    """Positions to read in a text; empty if a requested position does not exist."""
    try:
        return chosen_positions(positions, n_input=n_tokens)
    except InvalidRequest:
        return ()
