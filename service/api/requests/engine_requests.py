"""From the wire's types to the engine's requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

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
from promptatlas.types.sites import Layers, Reduction, TokenReduction

from service.engine.requests import (
    CaptureSpec,
    Input,
    Intervention,
    Lens,
    Nearest,
    Positions,
    Projection,
    Ranking,
    Sampling,
    Slice,
)


def sampling_of(asked: SamplingFields) -> Sampling:
    """How to choose tokens."""
    return Sampling(
        temperature=asked.temperature,
        top_k=asked.top_k,
        top_p=asked.top_p,
        min_p=asked.min_p,
        repetition_penalty=asked.repetition_penalty,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        logit_bias=asked.token_biases,
        seed=asked.seed,
    )


def activations_of(asked: ActivationRequest, *, projection: Projection | None = None) -> CaptureSpec:
    """What to keep of activations. projection: of the map that ``reduce`` names, if it names one."""
    spec = trajectories_of(asked, projection=projection)
    return replace(spec, positions=_positions(asked.positions), include_virtual=asked.include_virtual)


def trajectories_of(asked: CaptureFields, *, projection: Projection | None = None) -> CaptureSpec:
    """What to keep at every position. projection: of the map that ``reduce`` names, if it names one."""
    reduce = _reduction(asked.reduce) if projection is None else projection
    return CaptureSpec(sites=tuple(asked.sites), layers=_layers(asked.layers), reduce=reduce, dtype=asked.dtype)


def inputs_of(inputs: Sequence[str | list[int]]) -> tuple[Input, ...]:
    """Texts and lists of token ids."""
    return tuple(item if isinstance(item, str) else tuple(item) for item in inputs)


def interventions_of(asked: Sequence[InterventionSpec]) -> tuple[Intervention, ...]:
    """Changes without their tensors, which the engine process puts in place."""
    return tuple(
        Intervention(
            site=item.site,
            layers=_layers(item.layers),
            positions=_positions(item.positions),
            op=item.op,
            strength=item.strength,
        )
        for item in asked
    )


def values_of(asked: Sequence[InterventionSpec]) -> tuple[str | None, ...]:
    """The names of the tensors, one for each intervention."""
    return tuple(item.value for item in asked)


def _layers(layers: Layers) -> tuple[int, ...] | Literal["all"]:
    return "all" if isinstance(layers, str) else tuple(layers)


def _positions(positions: Literal["all", "last", "generated"] | list[int] | PositionSlice) -> Positions:
    if isinstance(positions, PositionSlice):
        return Slice(start=positions.start, stop=positions.stop)
    return positions if isinstance(positions, str) else tuple(positions)


def _reduction(reduction: Reduction | TokenReduction | None) -> Literal["mean", "norm"] | Ranking | None:
    if isinstance(reduction, LensReduction):
        return Lens(k=reduction.lens)
    if isinstance(reduction, NearestReduction):
        return Nearest(k=reduction.nearest, metric=reduction.metric)
    if isinstance(reduction, ProjectReduction):
        raise TypeError("a map's projection must have been looked up")
    return reduction
