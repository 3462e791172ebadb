"""Reader of causal language models, through captures of the engine.

Captures batch texts by length without padding and stop after the last requested layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)

from service.engine.activations.capture_buffer import DTYPES
from service.engine.model.detokenizer import Detokenizer
from service.engine.model.hosted_model import HostedModel
from service.engine.requests import CaptureSpec, Limits, Projection
from service.engine.shapes import Tensor
from service.map_sources.texts import Text
from workers.harvest.readers.reader import Identity, RowKind, Rows, Shapes, Tokens, rows_of
from workers.harvest.readers.texts import TextEncoder
from workers.states.prompt_choice import ChosenPrompt, prompt_digest
from workers.states.reader import Batch, StateReader

if TYPE_CHECKING:
    from service.store.datasets.items import Example

MAX_UNCUT_TOKENS = 8192
"""Longer texts are prefilled in chunks, whose KV cache includes layers above the last requested one."""


class CausalReader:
    """Reads states of a decoder-only model with or without a prompt; a :class:`workers.harvest.readers.reader.HarvestReader`.

    Args:
        capture: Sites, layers, positions and reduction.
        encoder: Tokenizes examples.
        limits: Limits of the engine's steps.
        check: Called before every forward; may raise to stop.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        capture: CaptureSpec,
        prompt: ChosenPrompt | None,
        encoder: TextEncoder,
        limits: Limits,
        check: Callable[[], None],
    ) -> None:
        self._model = model
        self._capture = capture
        self._prompt = prompt
        self._encoder = encoder
        self._n_virtual = 0 if prompt is None else prompt.prompt.n_virtual
        self._taps = model.catalogue.resolve(capture.sites, capture.layers)
        self._detokenizer = Detokenizer(model.tokenizer)
        uncut = max(limits.max_step_tokens, min(model.n_positions, MAX_UNCUT_TOKENS))
        self._reader = StateReader(
            model,
            prompt=None if prompt is None else prompt.prompt,
            limits=replace(limits, max_step_tokens=uncut),
            check=check,
        )

    @property
    def identity(self) -> Identity:
        """Model and prompt that are read."""
        card = self._model.card
        return Identity(
            model=card.name,
            revision=card.revision,
            prompt=None if self._prompt is None else self._prompt.ref,
            prompt_sha256=None if self._prompt is None else prompt_digest(self._prompt.prompt),
            metadata={"dtype": card.dtype, "attention": card.attention, "versions": dict(card.versions)},
        )

    @property
    def row_kind(self) -> RowKind:
        """``text`` for means, otherwise ``token``."""
        return "text" if self._capture.reduce == "mean" else "token"

    @property
    def itemsize(self) -> int:
        """Bytes per value."""
        return int(DTYPES[self._capture.dtype].itemsize)

    def encode(self, examples: Sequence[Example]) -> list[Text | None]:
        """Texts that fit the context together with the prompt and have the requested positions."""
        max_tokens = self._model.n_positions - self._n_virtual
        texts = self._encoder.encode(examples)
        return [text if len(text.ids) <= max_tokens and self._chosen(text) else None for text in texts]

    def n_tokens(self, text: Text) -> int:
        """Number of tokens: all are read, whichever positions are captured."""
        return len(text.ids)

    def n_rows(self, text: Text) -> int:
        """One per text, or one per captured position."""
        return 1 if self.row_kind == "text" else len(self._chosen(text))

    def shapes(self, *, longest: int) -> Shapes:
        """Row shapes; attention patterns are as wide as the longest text and the prompt."""
        n_keys = self._n_virtual + longest
        reduce = self._capture.reduce
        if reduce == "norm":
            return {tap.label: () for tap in self._taps}
        if isinstance(reduce, Projection):
            return {tap.label: (len(reduce.components),) for tap in self._taps}
        return {tap.label: self._model.catalogue.row_shape(tap, n_keys=n_keys) for tap in self._taps}

    def read(self, texts: Sequence[Text], *, longest: int) -> Rows:
        """Rows of these texts."""
        batches = list(self._reader.read(texts, spec=self._capture))
        shapes = self.shapes(longest=longest)
        tensors = {
            name: torch.cat([_padded(batch.tensors[name], shape) for batch in batches])
            for name, shape in shapes.items()
        }
        counts = [self.n_rows(text) for text in texts]
        owners = np.repeat(np.arange(len(texts)), counts)
        return Rows(texts=texts, tensors=tensors, owners=owners, tokens=self._tokens(texts, batches))

    def token_text(self, token_id: int) -> str:
        """Text of a token with its leading space."""
        return self._detokenizer.token_text(token_id)

    def _tokens(self, texts: Sequence[Text], batches: Sequence[Batch]) -> Tokens | None:
        if self.row_kind == "text":
            return None
        positions = torch.cat([batch.tensors["positions"] for batch in batches]).numpy()
        ids = torch.cat([batch.tensors["token_ids"] for batch in batches]).numpy()
        added = np.array([not text.own[at] for text in texts for at in self._chosen(text)], dtype=np.bool_)
        return Tokens(positions=positions.astype(np.int32), ids=ids.astype(np.int64), added=added)

    def _chosen(self, text: Text) -> tuple[int, ...]:
        return rows_of(self._capture.positions, n_tokens=len(text.ids))


def _padded(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Pad attention patterns, which are as wide as the longest text of their batch, to ``shape``."""
    missing = shape[-1] - rows.shape[-1] if shape else 0
    return F.pad(rows, (0, missing)) if missing else rows
