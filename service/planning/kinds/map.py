"""Planning of ``map`` runs."""

from __future__ import annotations

from collections.abc import Sequence

from promptatlas.types.maps import MapSpec

from service.errors import InvalidRequest
from service.planning.checks.distinct import require_distinct
from service.planning.checks.map_sources import CompletedSource, complete_sources
from service.planning.checks.methods import layers_of
from service.planning.context import Base, Resolver
from service.projection.arrays import MIN_POINTS


def complete_map(spec: MapSpec, resolver: Resolver) -> MapSpec:
    """The spec with layers counted from 0, pinned references, and a name for every source.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    base = resolver.model(spec.model)
    layers = layers_of(spec.layers, base=base, at=("layers",))
    _check_method(spec, base)
    _check_names(spec)
    completed = complete_sources(spec.sources, base=base, layers=layers, resolver=resolver)
    _check_counts(completed, layers=layers)
    return spec.model_copy(update={"layers": list(layers), "sources": [each.source for each in completed]})


def _check_method(spec: MapSpec, base: Base) -> None:
    if spec.method == "tsne" and spec.n_components != 2:
        raise InvalidRequest(f"Expected 2 dimensions for a t-SNE map, got {spec.n_components}.", loc=("n_components",))
    if spec.n_components > base.d_model:
        raise InvalidRequest(
            f"Expected at most {base.d_model} dimensions, as many as the states of {base.name} have; got {spec.n_components}.",
            loc=("n_components",),
        )


def _check_names(spec: MapSpec) -> None:
    # Sources without a name get one later; their index is distinct from any name.
    names = [i if source.name is None else source.name for i, source in enumerate(spec.sources)]
    require_distinct(names, what="names of sources", at=("sources",), field=("name",))


def _check_counts(completed: Sequence[CompletedSource], *, layers: Sequence[int]) -> None:
    for layer in layers:
        n = sum(each.n_points.get(layer, 0) for each in completed)
        if n < MIN_POINTS:
            raise InvalidRequest(
                f"A map needs at least {MIN_POINTS} points at every layer; the sources have at most {n} at layer {layer}.",
                loc=("sources",),
            )
