"""Points of a projection request: its sources are validated like those of a map run, then read one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from promptatlas.types.maps import MapSource

from service.api.engine_reads.engine_model import EngineModel
from service.api.engine_reads.map_reader import EngineMapReader
from service.api.keys.caller_engine import OpensExchanges
from service.api.services import Services
from service.errors import InvalidRequest, NotFound, TooLarge
from service.map_sources.add_source import add_source
from service.map_sources.gathered_points import GatheredPoints
from service.map_sources.interface import SourceContext
from service.planning.checks.map_sources import CompletedSource, complete_sources
from service.planning.context import PlanningContext, Resolver
from service.planning.specs import Loc
from service.projection.arrays import as_vectors
from service.store.maps.store import StoredMap

MAX_POINTS = 100_000
"""Points of one request, over all layers."""

MAX_STAGES = 512
"""Prompts, draws and snapshots of one source."""

VECTORS = "vectors"
"""Name of the source of vectors that the client sends."""


async def gather_points(
    sources: Sequence[MapSource],
    *,
    vectors: npt.NDArray[Any] | None,
    layers: Sequence[int],
    found: StoredMap,
    services: Services,
    engine: OpensExchanges,
    deadline_s: float,
) -> GatheredPoints:
    """Points of all sources at ``layers``, after those of ``vectors`` `[n, d_model]`. engine: reads states of texts.

    Raises:
        NotFound, InvalidRequest, TooLarge: at the source that cannot be read; also what the engine and the stores raise.
    """
    # Without sources no engine is needed: the map's basis checks the width of the vectors.
    model = _model_of(found, services, engine=engine, deadline_s=deadline_s) if sources else None
    d_model = None if model is None else model.card["d_model"]
    given = None if vectors is None else as_vectors(vectors, d=d_model)
    width = d_model if given is None else given.shape[1]
    points = _empty_points(layers, d_model=width or 0)
    if given is not None:
        for layer in layers:
            points.add(layer, given, source=VECTORS, role="placed")
    if model is not None:
        await _add_sources(sources, model=model, points=points, found=found, services=services)
    return points


def _empty_points(layers: Sequence[int], *, d_model: int) -> GatheredPoints:
    all_bytes = 4 * d_model * MAX_POINTS * len(layers)
    return GatheredPoints(layers, d_model=d_model, memory_bytes=all_bytes, max_points=MAX_POINTS)


async def _add_sources(
    sources: Sequence[MapSource], *, model: EngineModel, points: GatheredPoints, found: StoredMap, services: Services
) -> None:
    completed = await asyncio.to_thread(_complete, sources, found.facts.model, points.layers, services)
    context = SourceContext(
        model=found.facts.model,
        revision=found.facts.revision,
        prompts=services.prompts,
        runs=services.runs,
        datasets=services.datasets,
        reader=EngineMapReader(model, found=found, services=services),
        points=points,
        max_stages=MAX_STAGES,
    )
    for i, each in enumerate(completed):
        await _add(each, to=context, at=("sources", i))


async def _add(completed: CompletedSource, *, to: SourceContext, at: Loc) -> None:
    try:
        await add_source(completed.source, name=completed.name, to=to)
    except (InvalidRequest, TooLarge) as error:
        # The engine's loc refers to an internal request; the client sent this source.
        raise type(error)(error.detail, loc=at) from error


def _model_of(found: StoredMap, services: Services, *, engine: OpensExchanges, deadline_s: float) -> EngineModel:
    facts = found.facts
    state = services.engine.require_engine()
    card = state.models.get(facts.model)
    if card is None:
        hosted = ", ".join(sorted(state.models))
        raise NotFound(f"Map {found.id} is of model {facts.model!r}, which is not hosted here; hosted: {hosted}.")
    if card["revision"] != facts.revision:
        raise InvalidRequest(
            f"Map {found.id} was made of revision {facts.revision} of {facts.model}; hosted is {card['revision']}, with "
            "other weights: make a new map."
        )
    return EngineModel(engine=engine, name=facts.model, card=card, deadline_s=deadline_s)


def _complete(
    sources: Sequence[MapSource], model: str, layers: Sequence[int], services: Services
) -> list[CompletedSource]:
    models = services.engine.last_state().models
    context = PlanningContext(models=models, prompts=services.prompts, datasets=services.datasets)
    resolver = Resolver(context=context)
    return complete_sources(sources, base=resolver.model(model), layers=layers, resolver=resolver)
