"""All sources of a request: checked as those of a map run are, then read one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from promptatlas.types.maps import (
    DatasetSource,
    EmbeddingsMapSource,
    MapSource,
    PriorSource,
    PromptsSource,
    TextsSource,
    TrajectoriesSource,
)

from service.api.engine_reads.states import EngineStates
from service.api.map_sources.collector import Collector, NewPoints
from service.api.map_sources.prompts import add_prompts
from service.api.map_sources.texts import add_dataset, add_texts
from service.api.map_sources.trajectories import add_trajectories
from service.api.services import Services
from service.errors import InvalidRequest, NotFound, TooLarge
from service.hosting.ipc.messages import EngineState
from service.planning.checks.map_sources import CompletedSource, complete_sources
from service.planning.context import Base, PlanningContext, Resolver
from service.planning.specs import Loc
from service.store.maps.store import StoredMap, chosen_tokens

_CHUNK = 4096
"""Token embeddings of one input."""


async def gather(
    sources: Sequence[MapSource], *, found: StoredMap, to: NewPoints, services: Services, deadline_s: float
) -> None:
    """Add the points of all sources.

    Raises:
        NotFound, InvalidRequest, TooLarge: at the source that cannot be done; and what the engine and the stores raise.
    """
    state = services.hub.require_engine()
    card = _card(state, found)
    completed = await asyncio.to_thread(_completed, sources, found, to.layers, state, services)
    states = EngineStates(
        hub=services.hub,
        model=found.facts.model,
        d_model=card["d_model"],
        deadline_s=deadline_s,
        max_bytes=services.settings.max_capture_bytes,
    )
    adding = Collector(services=services, found=found, state=state, card=card, states=states, points=to)
    for i, each in enumerate(completed):
        await _add(each, to=adding, at=("sources", i))


async def _add(completed: CompletedSource, *, to: Collector, at: Loc) -> None:
    try:
        await _ADDERS[type(completed.source)](completed.source, name=completed.name, to=to)
    except (InvalidRequest, TooLarge) as error:
        # The engine tells where it stands in a request that the client has not sent.
        raise type(error)(error.detail, loc=at) from error


async def _add_vocabulary(source: EmbeddingsMapSource, *, name: str, to: Collector) -> None:
    texts = await to.tokens()
    ids = chosen_tokens(len(texts), n=source.n, seed=source.seed)
    to.points.check_room(len(ids))
    step = min(_CHUNK, to.card["n_positions"])
    inputs = [tuple(ids[start : start + step].tolist()) for start in range(0, len(ids), step)]
    async for i, states in to.states.states(inputs, layers=[0]):
        to.points.add(0, states[0], source=name, role="embedding", token=[texts[token] for token in inputs[i]])


async def _refuse_prior(source: PriorSource, *, name: str, to: Collector) -> None:
    raise InvalidRequest(
        "Priors are fitted and drawn by workers, not while a client waits: name the prior in a map run, or draw from it "
        "with POST /v1/priors/sample and send the draw as the part 'vectors'."
    )


_ADDERS: Mapping[type[Any], Callable[..., Awaitable[None]]] = {
    DatasetSource: add_dataset,
    TextsSource: add_texts,
    PromptsSource: add_prompts,
    TrajectoriesSource: add_trajectories,
    EmbeddingsMapSource: _add_vocabulary,
    PriorSource: _refuse_prior,
}


def _card(state: EngineState, found: StoredMap) -> Mapping[str, Any]:
    facts = found.facts
    card = state.models.get(facts.model)
    if card is None:
        hosted = ", ".join(sorted(state.models))
        raise NotFound(f"Map {found.id} is of model {facts.model!r}, which is not hosted here; hosted: {hosted}.")
    if card["revision"] != facts.revision:
        raise InvalidRequest(
            f"Map {found.id} was made of revision {facts.revision} of {facts.model}; hosted is {card['revision']}, with "
            "other weights: make the map anew."
        )
    return card


def _completed(
    sources: Sequence[MapSource], found: StoredMap, layers: Sequence[int], state: EngineState, services: Services
) -> list[CompletedSource]:
    context = PlanningContext(models=state.models, prompts=services.prompts, datasets=services.datasets)
    resolver = Resolver(context=context)
    base: Base = resolver.model(found.facts.model)
    return complete_sources(sources, base=base, layers=layers, resolver=resolver)
