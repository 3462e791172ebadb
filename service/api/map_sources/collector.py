"""What the sources of one request work with, and what they add to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from promptatlas.types import Mix
from promptatlas.types.references import PromptRef

from service.api.engine_reads.states import EngineStates
from service.api.requests.prompt_resolution import Choice, choose
from service.api.services import Services
from service.errors import TooLarge
from service.hosting.ipc.messages import EngineState
from service.store.maps.points import Labels
from service.store.maps.store import StoredMap

MAX_POINTS = 100_000
"""Of one request, over all layers."""

Floats = npt.NDArray[np.float32]


class NewPoints:
    """Vectors by layer, and what they are of."""

    def __init__(self, layers: Sequence[int]) -> None:
        self.layers = tuple(layers)
        self.labels: Mapping[int, Labels] = {layer: Labels(layer=layer) for layer in layers}
        self._blocks: dict[int, list[Floats]] = {layer: [] for layer in layers}

    def add(self, layer: int, vectors: Floats, **labels: Any) -> None:
        """Add points `[n, d_model]`, labelled as ``Labels.add`` does it; TooLarge past what one request may place."""
        self.check_room(len(vectors))
        self._blocks[layer].append(vectors)
        self.labels[layer].add(len(vectors), **labels)

    def check_room(self, n: int) -> None:
        """Raise TooLarge unless ``n`` more points may be placed."""
        if sum(labels.n for labels in self.labels.values()) + n > MAX_POINTS:
            raise TooLarge(
                f"More than {MAX_POINTS:,} points would be placed by one request: ask for fewer texts or layers, for one "
                "point a text, or make a map run."
            )

    def vectors(self, layer: int) -> Floats | None:
        """Those of a layer, `[n, d_model]`; None where there are none."""
        blocks = self._blocks[layer]
        return np.concatenate(blocks) if blocks else None


@dataclass(kw_only=True)
class Collector:
    """One request. state: of the engine, which hosts the map's model; card: that model's."""

    services: Services
    found: StoredMap
    state: EngineState
    card: Mapping[str, Any]
    states: EngineStates
    points: NewPoints
    _tokens: Sequence[str] = field(default=())

    @property
    def layers(self) -> tuple[int, ...]:
        return self.points.layers

    async def choose(self, ref: PromptRef | None) -> Choice:
        """What a prompt reference means."""
        return await choose(self.services.prompts, state=self.state, model=self.found.facts.model, prompt_ref=ref)

    async def tokens(self) -> Sequence[str]:
        """The text of each token id."""
        if not self._tokens:
            self._tokens = await asyncio.to_thread(self.services.maps.tokens, self.found)
        return self._tokens

    async def token_texts(self, ids: Iterable[int]) -> list[str]:
        """The texts of some token ids."""
        texts = await self.tokens()
        return [texts[i] if i < len(texts) else "" for i in ids]

    def own(self, positions: npt.NDArray[np.integer[Any]], *, n_input: int) -> npt.NDArray[np.bool_]:
        """Which of a text's positions hold its own tokens: all but those that the tokenizer puts around the input."""
        front, behind = self.found.facts.added
        return (positions >= front) & ~((positions >= n_input - behind) & (positions < n_input))


def shown_ref(choice: Choice) -> str | None:
    """How points say under which prompt they were read."""
    if choice.used is None:
        return None
    ref = choice.used.ref
    return " + ".join(f"{part.weight:g}·{part.ref}" for part in ref.mix) if isinstance(ref, Mix) else ref
