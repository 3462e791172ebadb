"""Reader of encoder–decoders: the encoder reads the input, the decoder its start token followed by the target.

The state at a decoder token predicts the next target token, as in training; the end-of-text token is not read.
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
from service.map_sources.texts import Text, TextParts
from workers.harvest.readers.encoder_decoder_model import EncoderDecoderModel
from workers.harvest.readers.reader import Identity, RowKind, Rows, Shapes, Tokens, rows_of
from workers.harvest.readers.texts import Flags, Ids, encode_with_special_tokens, encode_without_special_tokens

if TYPE_CHECKING:
    from service.store.datasets.items import Example

STEP_TOKENS = 1024
"""Tokens of one forward, both sides together; more exceed the cache of a CPU."""


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderText(Text):
    """A text with separate ids for the encoder (``ids``) and the decoder."""

    decoder_ids: Ids
    decoder_own: Flags

    def ids_of(self, side: Side) -> Ids:
        """Token ids of a side."""
        return self.ids if side == "encoder" else self.decoder_ids

    def own_of(self, side: Side) -> Flags:
        """For each token of a side, whether it belongs to the text itself."""
        return self.own if side == "encoder" else self.decoder_own


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderCapture:
    """What to capture; fields as in the engine's CaptureSpec."""

    taps: tuple[SideTap, ...]
    positions: Positions
    reduce: Literal["mean", "norm"] | None
    dtype: Literal["float32", "bfloat16", "float16"]

    def __post_init__(self) -> None:
        if len(self.sides) > 1 and self.reduce != "mean":
            raise InvalidRequest(
                "Rows of the encoder and the decoder are different tokens: request sites of one side, or reduce mean.",
                loc=("sites",),
            )

    @property
    def sides(self) -> tuple[Side, ...]:
        """Sides with at least one tap."""
        return tuple(dict.fromkeys(tap.side for tap in self.taps))


class EncoderDecoderReader:
    """Reads states of an encoder–decoder; a :class:`workers.harvest.readers.reader.HarvestReader`.

    Args:
        include_target: Whether the decoder reads the target; otherwise only its start token.
        max_tokens: Limit for each side; longer texts are cut.
        check: Called before every forward; may raise to stop.
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
        """The model that is read."""
        model = self._model
        metadata = {"dtype": model.dtype, "attention": model.attention, "versions": model.versions}
        return Identity(model=model.name, revision=model.revision, metadata=metadata)

    @property
    def row_kind(self) -> RowKind:
        """``text`` for means, otherwise ``token``."""
        return "text" if self._capture.reduce == "mean" else "token"

    @property
    def itemsize(self) -> int:
        """Bytes per value."""
        return int(DTYPES[self._capture.dtype].itemsize)

    def encode(self, examples: Sequence[Example]) -> list[Text | None]:
        """Texts that fit the context and have the requested positions on every captured side."""
        parts = [TextParts.of_example(example, include_target=self._include_target) for example in examples]
        encoded = encode_with_special_tokens(self._model.tokenizer, [text.begin for text in parts])
        target_ids = encode_without_special_tokens(self._model.tokenizer, [text.end for text in parts])
        found: list[Text | None] = []
        for text, (ids, own), more in zip(parts, encoded, target_ids, strict=True):
            whole = EncoderDecoderText(
                ids=ids,
                own=own,
                text=text.begin + text.end,
                index=text.index,
                split=text.split,
                task=text.task,
                input=text.input,
                decoder_ids=(self._model.start_id, *more),
                decoder_own=(False,) + (True,) * len(more),
            )
            cut = self._cut(whole)
            found.append(cut if self._is_readable(cut) else None)
        return found

    def n_tokens(self, text: Text) -> int:
        """Number of tokens on the sides that run."""
        assert isinstance(text, EncoderDecoderText)
        return len(text.ids) + (len(text.decoder_ids) if self._reads_decoder else 0)

    def n_rows(self, text: Text) -> int:
        """One per text, or one per captured position."""
        return 1 if self.row_kind == "text" else len(self._chosen(text, self._capture.sides[0]))

    def shapes(self, *, longest: int) -> Shapes:
        """Row shapes; all states have width d_model."""
        shape = () if self._capture.reduce == "norm" else (self._model.shape.d_model,)
        return {tap.label: shape for tap in self._capture.taps}

    def read(self, texts: Sequence[Text], *, longest: int) -> Rows:
        """Rows of these texts."""
        parts: dict[tuple[SideTap, int], Tensor] = {}
        for batch in self._batches(texts):
            self._check()
            chosen = [texts[i] for i in batch]
            encoder_ids = torch.tensor([text.ids for text in chosen])
            decoder_ids = (
                torch.tensor([_as_encoder_decoder_text(text).decoder_ids for text in chosen])
                if self._reads_decoder
                else None
            )
            states = self._model.read(encoder_ids, decoder_ids, taps=self._capture.taps)
            for tap in self._capture.taps:
                for i, text, rows in zip(batch, chosen, states[tap], strict=True):
                    parts[tap, i] = self._reduced(rows, at=self._chosen(text, tap.side))
        tensors = {tap.label: torch.cat([parts[tap, i] for i in range(len(texts))]) for tap in self._capture.taps}
        owners = np.repeat(np.arange(len(texts)), [self.n_rows(text) for text in texts])
        return Rows(texts=texts, tensors=tensors, owners=owners, tokens=self._tokens(texts))

    def token_text(self, token_id: int) -> str:
        """Text of a token with its leading space."""
        return self._detokenizer.token_text(token_id)

    def _cut(self, text: EncoderDecoderText) -> EncoderDecoderText:
        n = self._max_tokens
        if n is None:
            return text
        return replace(
            text, ids=text.ids[:n], own=text.own[:n], decoder_ids=text.decoder_ids[:n], decoder_own=text.decoder_own[:n]
        )

    def _is_readable(self, text: EncoderDecoderText) -> bool:
        max_positions = self._model.shape.n_positions
        fits = max_positions is None or max(len(text.ids), len(text.decoder_ids)) <= max_positions
        return fits and bool(text.ids) and all(self._chosen(text, side) for side in self._capture.sides)

    def _chosen(self, text: Text, side: Side) -> tuple[int, ...]:
        return rows_of(self._capture.positions, n_tokens=len(_as_encoder_decoder_text(text).ids_of(side)))

    def _batches(self, texts: Sequence[Text]) -> Iterator[list[int]]:
        """Batches of indices of texts with equal lengths on the sides that run, up to ``STEP_TOKENS`` tokens."""
        by_length: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, text in enumerate(texts):
            by_length[
                len(text.ids), len(_as_encoder_decoder_text(text).decoder_ids) if self._reads_decoder else 0
            ].append(i)
        for (n, m), members in sorted(by_length.items()):
            batch_size = max(1, STEP_TOKENS // (n + m))
            for start in range(0, len(members), batch_size):
                yield members[start : start + batch_size]

    def _reduced(self, states: Tensor, *, at: tuple[int, ...]) -> Tensor:
        """Reduce `[tokens, d_model]` to the rows at ``at``, on the CPU."""
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
        at = [(_as_encoder_decoder_text(text), position) for text in texts for position in self._chosen(text, side)]
        return Tokens(
            positions=np.array([position for _, position in at], dtype=np.int32),
            ids=np.array([text.ids_of(side)[position] for text, position in at], dtype=np.int64),
            added=np.array([not text.own_of(side)[position] for text, position in at], dtype=np.bool_),
        )


def _as_encoder_decoder_text(text: Text) -> EncoderDecoderText:
    assert isinstance(text, EncoderDecoderText)
    return text
