"""Interface between the sources of a map and what they read: a model, and the stores.

Methods are coroutines, because the API process awaits the engine process. The workers' implementation never suspends, so
that :func:`run_to_end` runs a source there without an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from promptatlas.types.maps import PriorSource
from promptatlas.types.references import PromptRef

from service.engine.requests import Sampling
from service.map_sources.gathered_points import GatheredPoints
from service.map_sources.texts import BatchLimits, Text, TextParts
from service.store.datasets.store import DatasetStore
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Generations:
    """Generated continuations of some inputs.

    tensors: by the names of the wire contract; rows of all inputs in order, input then generated. infos: for each input
    ``text, finish_reason, n_input, n_generated``.
    """

    tensors: Mapping[str, Array]
    infos: Sequence[Mapping[str, Any]]


class TextReader(Protocol):
    """Reads texts of one model under one prompt, or under none.

    prompt_label: how points name the prompt: ``name@version``, or the mix in words; None for the bare model.
    n_positions: of the context, without the prompt's virtual positions. max_tokens: texts are truncated to it.
    """

    @property
    def prompt_label(self) -> str | None: ...
    @property
    def n_positions(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...

    def batch_limits(self, *, n_layers: int) -> BatchLimits:
        """Size of a batch whose states are read at ``n_layers`` layers."""

    async def tokenize(self, parts: Sequence[TextParts]) -> list[Text]:
        """Token ids of each text, truncated to ``max_tokens``."""

    async def capture(self, texts: Sequence[Text], *, layers: Sequence[int]) -> Mapping[str, Array]:
        """States of all tokens at ``layers`` (:func:`service.store.maps.store.site_of`), as ``states_of`` takes them."""

    async def generate(
        self, texts: Sequence[Text], *, layers: Sequence[int], max_tokens: int, sampling: Sampling
    ) -> Generations:
        """Continuations with the states of all tokens at ``layers``."""


class MapReader(Protocol):
    """Reads one model for the points of a map."""

    async def under(self, ref: PromptRef | None) -> TextReader:
        """Reader of texts under a prompt; None is the bare model."""

    async def n_tokens(self) -> int:
        """Number of token ids that texts can have, counted from 0."""

    async def token_texts(self, ids: Sequence[int]) -> list[str]:
        """The text of each token id, with its leading space."""

    async def embeddings(self, ids: Sequence[int]) -> Floats:
        """Token embeddings `[n, d_model]`."""

    async def virtual_states(
        self, tensors: Mapping[str, Floats], *, where: str | None, layers: Sequence[int]
    ) -> Mapping[int, Floats]:
        """States `[n_virtual, d_model]` of a prompt's virtual positions at ``layers``.

        Args:
            tensors: of a soft or deep prompt, by the names of the native format. where: of a deep prompt.
            layers: above the lowest that has vectors, and without vectors themselves.
        """

    async def prior_draws(self, source: PriorSource, *, layer: int) -> Floats:
        """Draws of a prior `[n, d_model]` for a layer."""

    async def run_blocking(self, work: Callable[[], Answer]) -> Answer:
        """The result of ``work``, which reads from the stores."""

    def warn(self, text: str) -> None:
        """Report a source that gives fewer points than expected."""

    def inputs_left_out(self, n: int, *, n_inputs: int) -> None:
        """Report inputs of trajectories that are empty or fill the context. May refuse the source."""


@dataclass(frozen=True, kw_only=True)
class SourceContext:
    """What sources read from, and the points that they add to.

    model, revision: of the map. progress: takes the completed share of the current source, 0 to 1. max_stages: prompts,
    draws and snapshots of one source; None for no limit.
    """

    model: str
    revision: str
    prompts: PromptStore
    runs: RunStore
    datasets: DatasetStore
    reader: MapReader
    points: GatheredPoints
    progress: Callable[[float], None] = lambda _share: None
    max_stages: int | None = None

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers of the map that are read, ascending."""
        return self.points.layers


def run_to_end(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Run a coroutine that never suspends, without an event loop; RuntimeError if it does suspend."""
    try:
        work.send(None)
    except StopIteration as end:
        result: Answer = end.value
        return result
    finally:
        work.close()
    raise RuntimeError("expected a coroutine that runs to its end, got one that waits")
