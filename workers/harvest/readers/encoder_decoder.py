"""Reading an encoder–decoder: the encoder reads the input, the decoder its start token and the target behind it.

The state at a decoder's token predicts the target's next one, as in training; the end of the text is not read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from service.engine.activations.capture_buffer import DTYPES
from service.engine.model.detokenizer import Detokenizer
from service.engine.model.encoder_decoder import Side, SideTap
from service.engine.requests import Positions
from service.engine.shapes import Tensor
from service.errors import InvalidRequest
from service.store.maps.points import task_of
from workers.harvest.readers.encoder_decoder_model import EncoderDecoderModel
from workers.harvest.readers.reader import Identity, RowKind, Rows, Shapes, Tokens, rows_of
from workers.harvest.readers.texts import Flags, Ids, bare, with_added
from workers.states.texts import Text

if TYPE_CHECKING:
    from service.store.datasets.items import Example

STEP_TOKENS = 1024
"""Tokens of one forward, both sides together; more fall out of a CPU's cache."""


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderText(Text):
    """A text whose ``ids`` are the encoder's; the decoder's stand beside them."""

    decoder_ids: Ids
    decoder_own: Flags

    def ids_of(self, side: Side) -> Ids:
        """What a side reads."""
        return self.ids if side == "encoder" else self.decoder_ids

    def own_of(self, side: Side) -> Flags:
        """Which of them are the text's own."""
        return self.own if side == "encoder" else self.decoder_own


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderCapture:
    """What to keep; fields as the engine's CaptureSpec has them."""

    taps: tuple[SideTap, ...]
    positions: Positions
    reduce: Literal["mean", "norm"] | None
    dtype: Literal["float32", "bfloat16", "float16"]

    def __post_init__(self) -> None:
        if len(self.sides) > 1 and self.reduce != "mean":
            raise InvalidRequest(
                "The encoder's rows are of other tokens than the decoder's: ask for one side, or for reduce mean.",
                loc=("sites",),
            )

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that something is read of."""
        return tuple(dict.fromkeys(tap.side for tap in self.taps))


class EncoderDecoderReader:
    """States of an encoder–decoder; a :class:`workers.harvest.readers.reader.Reading`.

    Args:
        include_target: else the decoder reads its start token alone.
        max_tokens: what each side reads is cut to so many tokens.
        check: called before every forward; what it raises ends the reading.
    """

    def __init__(
        self,
        model: EncoderDecoderModel,
        *,
        capture: EncoderDecoderCapture,
        include_target: bool,
        max_tokens: int | None,
        check: Callable[[], None],
    ) -> None:
        self._model = model
        self._capture = capture
        self._include_target = include_target
        self._max_tokens = max_tokens
        self._check = check
        self._reads_decoder = "decoder" in capture.sides
        self._detokenizer = Detokenizer(model.tokenizer)

    @property
    def identity(self) -> Identity:
        """Which model it is."""
        model = self._model
        metadata = {"dtype": model.dtype, "attention": model.attention, "versions": model.versions}
        return Identity(model=model.name, revision=model.revision, metadata=metadata)

    @property
    def row_kind(self) -> RowKind:
        """A text's mean, or a token."""
        return "text" if self._capture.reduce == "mean" else "token"

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return int(DTYPES[self._capture.dtype].itemsize)

    def encode(self, examples: Sequence[Example]) -> list[Text | None]:
        """Texts that fit, of which there is something to read on every side that is read."""
        inputs = [example.text if example.text is not None else example.input or "" for example in examples]
        targets = [self._target(example) for example in examples]
        encoded = with_added(self._model.tokenizer, inputs)
        behind = bare(self._model.tokenizer, targets)
        found: list[Text | None] = []
        for example, text, target, (ids, own), more in zip(examples, inputs, targets, encoded, behind, strict=True):
            whole = EncoderDecoderText(
                ids=ids,
                own=own,
                text=text + target,
                index=example.index,
                split=example.split,
                task=task_of(example.record),
                input=example.input,
                decoder_ids=(self._model.start_id, *more),
                decoder_own=(False,) + (True,) * len(more),
            )
            cut = self._cut(whole)
            found.append(cut if self._is_readable(cut) else None)
        return found

    def n_tokens(self, text: Text) -> int:
        """Of the sides that run."""
        assert isinstance(text, EncoderDecoderText)
        return len(text.ids) + (len(text.decoder_ids) if self._reads_decoder else 0)

    def n_rows(self, text: Text) -> int:
        """One a text, or one a position of the side that is read."""
        return 1 if self.row_kind == "text" else len(self._chosen(text, self._capture.sides[0]))

    def shapes(self, *, longest: int) -> Shapes:
        """All states have one width."""
        shape = () if self._capture.reduce == "norm" else (self._model.shape.d_model,)
        return {tap.label: shape for tap in self._capture.taps}

    def read(self, texts: Sequence[Text], *, longest: int) -> Rows:
        """The rows of these texts."""
        parts: dict[tuple[SideTap, int], Tensor] = {}
        for batch in self._batches(texts):
            self._check()
            chosen = [texts[i] for i in batch]
            encoder_ids = torch.tensor([text.ids for text in chosen])
            decoder_ids = torch.tensor([_two(text).decoder_ids for text in chosen]) if self._reads_decoder else None
            states = self._model.read(encoder_ids, decoder_ids, taps=self._capture.taps)
            for tap in self._capture.taps:
                for i, text, rows in zip(batch, chosen, states[tap], strict=True):
                    parts[tap, i] = self._reduced(rows, at=self._chosen(text, tap.side))
        tensors = {tap.label: torch.cat([parts[tap, i] for i in range(len(texts))]) for tap in self._capture.taps}
        owners = np.repeat(np.arange(len(texts)), [self.n_rows(text) for text in texts])
        return Rows(texts=texts, tensors=tensors, owners=owners, tokens=self._tokens(texts))

    def token_text(self, token_id: int) -> str:
        """With its leading space."""
        return self._detokenizer.token_text(token_id)

    def _target(self, example: Example) -> str:
        return (example.target or "") if self._include_target and example.text is None else ""

    def _cut(self, text: EncoderDecoderText) -> EncoderDecoderText:
        n = self._max_tokens
        if n is None:
            return text
        return replace(
            text, ids=text.ids[:n], own=text.own[:n], decoder_ids=text.decoder_ids[:n], decoder_own=text.decoder_own[:n]
        )

    def _is_readable(self, text: EncoderDecoderText) -> bool:
        room = self._model.shape.n_positions
        fits = room is None or max(len(text.ids), len(text.decoder_ids)) <= room
        return fits and bool(text.ids) and all(self._chosen(text, side) for side in self._capture.sides)

    def _chosen(self, text: Text, side: Side) -> tuple[int, ...]:
        return rows_of(self._capture.positions, n_tokens=len(_two(text).ids_of(side)))

    def _batches(self, texts: Sequence[Text]) -> Iterator[list[int]]:
        """Indices of texts that are equally long on the sides that run, as many as one forward takes."""
        alike: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, text in enumerate(texts):
            alike[len(text.ids), len(_two(text).decoder_ids) if self._reads_decoder else 0].append(i)
        for (n, m), members in sorted(alike.items()):
            n_at_once = max(1, STEP_TOKENS // (n + m))
            for start in range(0, len(members), n_at_once):
                yield members[start : start + n_at_once]

    def _reduced(self, states: Tensor, *, at: tuple[int, ...]) -> Tensor:
        """`[tokens, d_model]` → the rows that are kept, on the CPU."""
        rows = states[torch.tensor(at, device=states.device)]
        if self._capture.reduce == "mean":
            rows = rows.float().mean(0, keepdim=True)
        elif self._capture.reduce == "norm":
            rows = torch.linalg.vector_norm(rows.float(), dim=1)
        return rows.to(DTYPES[self._capture.dtype]).cpu()

    def _tokens(self, texts: Sequence[Text]) -> Tokens | None:
        if self.row_kind == "text":
            return None
        side = self._capture.sides[0]
        at = [(_two(text), position) for text in texts for position in self._chosen(text, side)]
        return Tokens(
            positions=np.array([position for _, position in at], dtype=np.int32),
            ids=np.array([text.ids_of(side)[position] for text, position in at], dtype=np.int64),
            added=np.array([not text.own_of(side)[position] for text, position in at], dtype=np.bool_),
        )


def _two(text: Text) -> EncoderDecoderText:
    assert isinstance(text, EncoderDecoderText)
    return text
