"""Reader of a model's states in process: texts in, states out, in batches of bounded size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from service.engine.activations.capture_buffer import n_values_per_row
from service.engine.engine import Engine
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Capture, CaptureSpec, Done, Failed, Generate, Limits, Tensors
from service.engine.shapes import Tensor
from service.errors import EngineFault, NotFound
from service.map_sources.states import Per, States, states_of
from service.map_sources.texts import BatchLimits, Text, batches
from service.store.maps.store import site_of

BATCH_BYTES = 128 << 20
"""Size of the states of one batch of texts, in float32."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Texts with the tensors of their capture, by the names of the wire contract, ``row_offsets`` included."""

    texts: Sequence[Text]
    tensors: Mapping[str, Tensor]


class StateReader:
    """Reads one model under one prompt, or under none.

    Args:
        prompt: of this model; None is the bare model.
        limits: of the engine's steps. Queue and result size are not limited.
        check: called before every forward. If it raises, the request is cancelled in the engine.
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
        given = limits or Limits()
        self._limits = replace(given, max_waiting=1 << 40, max_capture_bytes=1 << 50)
        self._model = model
        self._prompt = prompt
        self._choice = None if prompt is None else PromptChoice(parts=(("prompt", 1.0),))
        self._check = check
        self._batch_bytes = batch_bytes
        self._engine = Engine(model, limits=self._limits, load_prompt=self._load)
        self._ids = itertools.count()

    @property
    def batch_limits(self) -> BatchLimits:
        """Size of a batch of ``states``, computed for all layers: batches do not depend on which layers are read."""
        return BatchLimits(
            max_tokens=self._batch_bytes // (4 * self._model.d_model * self._model.architecture.n_layers)
        )

    def read(self, texts: Iterable[Text], *, spec: CaptureSpec) -> Iterator[Batch]:
        """Any capture of the wire contract, of any number of texts with at least one token each.

        Rows of added tokens are included. The states of a batch have at most about ``batch_bytes``, or those of one text.
        Batches depend on the texts and on ``spec`` alone.

        Raises:
            InvalidRequest: the model cannot do the capture, or a text exceeds its context.
        """
        limits = BatchLimits(max_tokens=self._batch_bytes // self._row_bytes(spec))
        for batch in batches(texts, limits=limits):
            yield Batch(texts=batch, tensors=self._capture(batch, spec).tensors)

    def states(self, texts: Iterable[Text], *, layers: Sequence[int], per: Per = "token") -> Iterator[States]:
        """States at the inputs of blocks (:func:`service.store.maps.store.site_of`), of each own token or as a mean per text.

        Texts without own tokens are left out. A row does not depend on ``layers``, and on other texts only by rounding.

        Raises:
            EngineFault: the states are not finite.
        """
        readable = (text for text in texts if any(text.own))
        for batch in batches(readable, limits=self.batch_limits):
            yield states_of(batch, self.capture(batch, layers=layers), layers=layers, per=per)

    def capture(self, texts: Sequence[Text], *, layers: Sequence[int]) -> Mapping[str, Array]:
        """Tensors of one batch for :func:`service.map_sources.states.states_of`; EngineFault unless own states are finite."""
        found = self._capture(texts, CaptureSpec(sites=tuple(map(site_of, layers)))).tensors
        tensors = {name: tensor.numpy() for name, tensor in found.items()}
        own = np.array([flag for text in texts for flag in text.own])
        for layer in layers:
            states = tensors[site_of(layer)]
            # Nearly always all rows are finite; only otherwise the own ones are copied out.
            if not np.isfinite(states).all() and not np.isfinite(states[own]).all():
                raise EngineFault(
                    f"The model's states at layer {layer} contain NaN or infinite values; load it in a wider dtype."
                )
        return tensors

    def run(self, request: Capture | Generate) -> Tensors:
        """The tensors that one request results in, e.g. a generation with ``capture``.

        Args:
            request: without a prompt, or with ``choice``.
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
        """An id that no other request of this reader has."""
        return str(next(self._ids))

    def _capture(self, batch: Sequence[Text], spec: CaptureSpec) -> Tensors:
        inputs = tuple(text.ids for text in batch)
        return self.run(Capture(request_id=self.request_id(), inputs=inputs, capture=spec, prompt=self._choice))

    def _row_bytes(self, spec: CaptureSpec) -> int:
        taps = self._model.catalogue.resolve(spec.sites, spec.layers)
        n_keys = self._model.n_positions if any(tap.kind == "attn_probs" for tap in taps) else 0
        # Rows are complete and in float32 before they are averaged or converted.
        return max(1, 4 * n_values_per_row(spec, taps, self._model.catalogue, n_keys=n_keys))

    def _load(self, _label: str) -> Prompt:
        if self._prompt is None:
            raise NotFound("This reader has no prompt.")
        return self._prompt
