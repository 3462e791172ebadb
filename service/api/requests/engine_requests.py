"""Conversion of the wire's types to requests of the engine."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from promptatlas.types import (
    ActivationRequest,
    CaptureFields,
    InterventionSpec,
    LensReduction,
    NearestReduction,
    PositionSlice,
    ProjectReduction,
    SamplingFields,
)
from promptatlas.types.sites import Layers

from service.api.requests.bodies import Body
from service.api.requests.prompt_resolution import ResolvedModel
from service.api.services import Services
from service.completions.generation import generation_of
from service.engine.requests import (
    Capture,
    CaptureSpec,
    Generate,
    Intervention,
    Lens,
    Nearest,
    Positions,
    Projection,
    Ranking,
    Slice,
)
from service.hosting.ipc.messages import Submit

_Reduction = Literal["mean", "norm"] | Projection | Ranking | None


def new_request_id() -> str:
    """An id that no other request of the engine has."""
    return uuid.uuid4().hex


def job_of(
    body: Body[Any],
    request: Generate | Capture,
    *,
    resolved: ResolvedModel,
    metadata: Mapping[str, Any] | None = None,
    n_context: int | None = None,
) -> Submit:
    """The message that runs ``request``, made from ``body``, with the tensors of its interventions."""
    return Submit(
        model=resolved.model,
        request=request,
        tensors=body.tensors,
        values=tuple(item.value for item in body.request.interventions),
        metadata=metadata or {},
        n_context=n_context,
    )


def generate_of(spec: SamplingFields, *, resolved: ResolvedModel) -> Generate:
    """A generation with the fields that completions, chats and trajectories share; inputs are not set."""
    generate = generation_of(spec, request_id=new_request_id(), prompt=resolved.prompt)
    return replace(generate, interventions=interventions_of(spec.interventions))


async def capture_of(services: Services, spec: CaptureFields, *, resolved: ResolvedModel) -> CaptureSpec:
    """What to capture; at every position unless ``spec`` has ``positions``.

    Raises:
        NotFound: ``reduce`` names a map that does not exist.
        InvalidRequest: the map is not linear, or has several layers of which none is selected.
    """
    if isinstance(spec.reduce, ProjectReduction):
        reduce: _Reduction = await _projection(services, spec.reduce, layers=spec.layers, card=resolved.card)
    else:
        reduce = _reduction(spec.reduce)
    capture = CaptureSpec(sites=tuple(spec.sites), layers=layers_of(spec.layers), reduce=reduce, dtype=spec.dtype)
    if isinstance(spec, ActivationRequest):
        return replace(capture, positions=positions_of(spec.positions), include_virtual=spec.include_virtual)
    return capture


def interventions_of(specs: Sequence[InterventionSpec]) -> tuple[Intervention, ...]:
    """Interventions without their tensors, which the engine process attaches."""
    return tuple(
        Intervention(
            site=item.site,
            layers=layers_of(item.layers),
            positions=positions_of(item.positions),
            op=item.op,
            strength=item.strength,
        )
        for item in specs
    )


def layers_of(layers: Layers) -> tuple[int, ...] | Literal["all"]:
    """Layers as the engine takes them."""
    return "all" if isinstance(layers, str) else tuple(layers)


def positions_of(positions: Literal["all", "last", "generated"] | list[int] | PositionSlice) -> Positions:
    """Positions as the engine takes them."""
    if isinstance(positions, PositionSlice):
        return Slice(start=positions.start, stop=positions.stop)
    return positions if isinstance(positions, str) else tuple(positions)


def _reduction(
    reduction: Literal["mean", "norm"] | LensReduction | NearestReduction | None,
) -> Literal["mean", "norm"] | Ranking | None:
    if isinstance(reduction, LensReduction):
        return Lens(k=reduction.lens)
    if isinstance(reduction, NearestReduction):
        return Nearest(k=reduction.nearest, metric=reduction.metric)
    return reduction


async def _projection(
    services: Services, reduction: ProjectReduction, *, layers: Layers, card: Mapping[str, Any]
) -> Projection:
    """The basis of a linear map, as numpy arrays; the engine process converts them to tensors."""
    n_layers: int = card["n_layers"]
    counted = None if isinstance(layers, str) else [layer + n_layers if layer < 0 else layer for layer in layers]
    loc = ("reduce", "project")
    basis = await asyncio.to_thread(services.maps.linear_basis, reduction.project, layers=counted, loc=loc)
    return Projection(mean=cast(Any, basis.mean), components=cast(Any, basis.components))
