"""What a harvest needs of a model, whatever its architecture: texts in, rows of states out."""

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
from workers.states.texts import Text

if TYPE_CHECKING:
    from service.store.datasets.items import Example

RowKind = Literal["token", "text"]
Shapes = Mapping[str, tuple[int, ...]]
"""Of each tensor by its name in the wire contract, the shape of one row."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What is read. revision: of the weights. prompt: as it is shown; prompt_sha256: of its numbers. None: the bare model.

    metadata: what the header of a result says of the model, as the wire contract has it.
    """

    model: str
    revision: str
    prompt: str | None = None
    prompt_sha256: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Which token each row is of: int32 and int64 `[n_rows]`, and whether the tokenizer has added it."""

    positions: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int64]
    added: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of some texts, in order. owners: int64 `[n_rows]`, index in ``texts``. tokens: None where a row is a text."""

    texts: Sequence[Text]
    tensors: Mapping[str, Tensor]
    owners: npt.NDArray[np.int64]
    tokens: Tokens | None


class HarvestReader(Protocol):
    """One model's states, read in one way."""

    @property
    def identity(self) -> Identity:
        """Of which model under which prompt they are."""

    @property
    def row_kind(self) -> RowKind:
        """What a row is of."""

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""

    def encode(self, examples: Sequence[Example]) -> list[Text | None]:
        """A text for each record; None where there is nothing to read of it, or more than the model can read at once."""

    def n_tokens(self, text: Text) -> int:
        """Tokens that the model reads of a text."""

    def n_rows(self, text: Text) -> int:
        """Rows that a text becomes."""

    def shapes(self, *, longest: int) -> Shapes:
        """Of every tensor, where the longest text has so many tokens."""

    def read(self, texts: Sequence[Text], *, longest: int) -> Rows:
        """The rows of these texts, computed with no others. The same texts always give the same."""

    def token_text(self, token_id: int) -> str:
        """The text of a token as it stands inside a text."""


def rows_of(positions: Positions, *, n_tokens: int) -> tuple[int, ...]:
    """Positions of a text that are read; none where one that is asked for is not there."""
    try:
        return chosen_positions(positions, n_input=n_tokens)
    except InvalidRequest:
        return ()
