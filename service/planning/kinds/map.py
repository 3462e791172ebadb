"""Can a ``map`` run work: layers that exist, sources that give points there, a method that can draw them."""

from __future__ import annotations

from collections.abc import Sequence

from promptatlas.types.maps import MapSpec

from service.errors import InvalidRequest
from service.planning.checks.map_sources import Completed, complete_sources
from service.planning.checks.methods import layer_of
from service.planning.context import Base, Lookup
from service.planning.specs import Loc
from service.projection.arrays import MIN_POINTS


def complete_map(spec: MapSpec, lookup: Lookup) -> MapSpec:
    """The spec with layers counted from 0, references pinned, and a name for every source.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    base = lookup.model(spec.model)
    layers = map_layers(spec.layers, base=base, at=("layers",))
    _check_method(spec, base)
    _check_names(spec)
    completed = complete_sources(spec.sources, base=base, layers=layers, lookup=lookup)
    _check_counts(completed, layers=layers)
    return spec.model_copy(update={"layers": layers, "sources": [each.source for each in completed]})


def map_layers(layers: Sequence[int], *, base: Base, at: Loc) -> list[int]:
    """Layers counted from 0, ascending; InvalidRequest at the one that the model lacks, or that stands twice."""
    found: list[int] = []
    for i, layer in enumerate(layers):
        index = layer_of(layer, base=base, at=(*at, i))
        if index in found:
            raise InvalidRequest(f"Layer {index} stands twice.", loc=(*at, i))
        found.append(index)
    return sorted(found)


def _check_method(spec: MapSpec, base: Base) -> None:
    if spec.method == "tsne" and spec.n_components != 2:
        raise InvalidRequest(f"t-SNE maps have 2 dimensions, got {spec.n_components}.", loc=("n_components",))
    if spec.n_components > base.d_model:
        raise InvalidRequest(
            f"{base.name} has states of {base.d_model} dimensions, got a map of {spec.n_components}.",
            loc=("n_components",),
        )


def _check_names(spec: MapSpec) -> None:
    names = [source.name for source in spec.sources]
    for i, name in enumerate(names):
        if name is not None and name in names[:i]:
            raise InvalidRequest(f"Two sources are called {name!r}.", loc=("sources", i, "name"))


def _check_counts(completed: Sequence[Completed], *, layers: Sequence[int]) -> None:
    for layer in layers:
        n = sum(each.n_points.get(layer, 0) for each in completed)
        if n < MIN_POINTS:
            raise InvalidRequest(
                f"A map needs at least {MIN_POINTS} points at every layer; the sources have at most {n} at layer {layer}.",
                loc=("sources",),
            )
