"""The reader: texts in, states out, in batches of bounded size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from service.engine.activations.capture_buffer import n_values_per_row
from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Capture, CaptureSpec, Done, Failed, Generate, Limits, PromptChoice, Tensors
from service.engine.shapes import Tensor
from service.errors import EngineFault, NotFound
from service.store.maps.store import site_of
from workers.states.texts import Text

BATCH_BYTES = 128 << 20
"""Of the states of one batch of texts, in float32."""

Floats = npt.NDArray[np.float32]
Per = Literal["text", "token"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Texts and what a capture of them gave: tensors by their names in the wire contract, ``row_offsets`` among them."""

    texts: Sequence[Text]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class States:
    """Rows of states of one batch of texts, without those of added tokens.

    vectors: float32 `[n, d_model]` by layer. rows: `[n]`, which of ``texts`` each is of. positions, token_ids: `[n]`, index in
    the text's tokens and the token there; None where a row is a whole text's mean.
    """

    texts: Sequence[Text]
    vectors: Mapping[int, Floats]
    rows: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int32] | None = None
    token_ids: npt.NDArray[np.int64] | None = None


class StateReader:
    """Reads one model, under one prompt or none.

    Args:
        prompt: of this model; None is the bare model.
        limits: of the engine's steps; the sizes of queue and answer are the reader's own affair.
        check: called before every forward; what it raises ends the reading, and nothing of it stays in the engine.
        batch_bytes: see :data:`BATCH_BYTES`.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        prompt: Prompt | None = None,
        limits: Limits | None = None,
        check: Callable[[], None] = lambda: None,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        own = limits or Limits()
        self._limits = Limits(
            max_rows=own.max_rows,
            max_waiting=1 << 40,
            cache_bytes=own.cache_bytes,
            max_step_tokens=own.max_step_tokens,
            max_capture_bytes=1 << 50,
            prompt_cache_bytes=own.prompt_cache_bytes,
        )
        self._model = model
        self._prompt = prompt
        self._choice = None if prompt is None else PromptChoice(parts=(("prompt", 1.0),))
        self._check = check
        self._batch_bytes = batch_bytes
        self._engine = Engine(model, limits=self._limits, load_prompt=self._load)
        self._ids = itertools.count()

    def read(self, texts: Iterable[Text], *, spec: CaptureSpec) -> Iterator[Batch]:
        """Any capture, as the wire contract has it, of any number of texts with at least one token each.

        Rows of every token are there, of added ones too. A batch's states have about ``batch_bytes`` at most, but always
        those of one text; which texts make a batch depends on them and on ``spec`` alone.

        Raises:
            InvalidRequest: the capture cannot be done on this model, or a text is past its context.
        """
        n_bytes_per_row = self._row_bytes(spec)
        for batch in _batches(texts, max_tokens=self._batch_bytes // n_bytes_per_row):
            yield Batch(texts=batch, tensors=self._capture(batch, spec).tensors)

    def states(self, texts: Iterable[Text], *, layers: Sequence[int], per: Per = "token") -> Iterator[States]:
        """States at the inputs of blocks (:func:`service.store.maps.store.site_of`), of each own token or as a mean per text.

        Texts without own tokens are left out. A row does not depend on what else is read: not on ``layers``, and on other
        texts only as far as rounding goes.

        Raises:
            EngineFault: the states are not finite.
        """
        spec = CaptureSpec(sites=tuple(map(site_of, layers)))
        # Of all layers, whichever are asked for, so that the batches are the same ones.
        n_bytes_per_row = 4 * self._model.d_model * self._model.architecture.n_layers
        readable = (text for text in texts if any(text.own))
        for batch in _batches(readable, max_tokens=self._batch_bytes // n_bytes_per_row):
            yield _states(batch, self._capture(batch, spec).tensors, layers=layers, per=per)

    def run(self, request: Capture | Generate) -> Tensors:
        """The tensors that one request ends in, e.g. a generation with ``capture``.

        Args:
            request: without a prompt of its own; it is asked under the reader's.
        """
        self._engine.submit(request)
        try:
            while True:
                self._check()
                for event in self._engine.step():
                    if isinstance(event, Failed):
                        raise event.error
                    if isinstance(event, Done) and event.result is not None:
                        return event.result
        except BaseException:
            self._engine.cancel(request.request_id)
            raise

    @property
    def choice(self) -> PromptChoice | None:
        """The reader's prompt as requests name it."""
        return self._choice

    def request_id(self) -> str:
        """One that no other request of this reader has."""
        return str(next(self._ids))

    def _capture(self, batch: Sequence[Text], spec: CaptureSpec) -> Tensors:
        inputs = tuple(text.ids for text in batch)
        return self.run(Capture(request_id=self.request_id(), inputs=inputs, capture=spec, prompt=self._choice))

    def _row_bytes(self, spec: CaptureSpec) -> int:
        taps = self._model.catalogue.resolve(spec.sites, spec.layers)
        n_keys = self._model.n_positions if any(tap.kind == "attn_probs" for tap in taps) else 0
        # Before a mean is taken, or the values are narrowed, a chunk of the rows is there in full.
        return max(1, 4 * n_values_per_row(spec, taps, self._model.catalogue, n_keys=n_keys))

    def _load(self, _label: str) -> Prompt:
        if self._prompt is None:
            raise NotFound("states are read without a prompt here.")
        return self._prompt


def _batches(texts: Iterable[Text], *, max_tokens: int) -> Iterator[list[Text]]:
    batch: list[Text] = []
    n_tokens = 0
    for text in texts:
        if batch and n_tokens + len(text.ids) > max_tokens:
            yield batch
            batch, n_tokens = [], 0
        batch.append(text)
        n_tokens += len(text.ids)
    if batch:
        yield batch


def _states(batch: Sequence[Text], tensors: Mapping[str, Tensor], *, layers: Sequence[int], per: Per) -> States:
    own = torch.tensor([flag for text in batch for flag in text.own])
    rows = np.repeat(np.arange(len(batch)), [text.n_own for text in batch])
    vectors = {layer: _finite(tensors[site_of(layer)][own].numpy(), layer=layer) for layer in layers}
    if per == "text":
        counts = np.bincount(rows, minlength=len(batch))
        starts = np.concatenate([[0], counts.cumsum()[:-1]])
        means = {layer: _means(states, starts=starts, counts=counts) for layer, states in vectors.items()}
        return States(texts=batch, vectors=means, rows=np.arange(len(batch)))
    return States(
        texts=batch,
        vectors=vectors,
        rows=rows,
        positions=tensors["positions"][own].numpy().astype(np.int32),
        token_ids=tensors["token_ids"][own].numpy().astype(np.int64),
    )


def _means(states: Floats, *, starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> Floats:
    sums = np.add.reduceat(states, starts, axis=0, dtype=np.float64)
    means: Floats = (sums / counts[:, None]).astype(np.float32)
    return means


def _finite(states: Floats, *, layer: int) -> Floats:
    if not np.isfinite(states).all():
        raise EngineFault(f"the model's states at layer {layer} hold NaN or infinite values; load it in a wider dtype.")
    return states
