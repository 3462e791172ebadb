"""Does a prior fit a model and a method: sources that exist and suffice, layers, prompts of the right form, densities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from promptatlas.types import (
    ActivationsSource,
    DatasetPoints,
    EmbeddingsSource,
    InterpolationPrior,
    KnnPrior,
    PosteriorPrior,
    Prior,
    PromptPrior,
    Source,
)
from promptatlas.types.forms import FORMS
from promptatlas.types.priors import LayerPoints

from service.errors import InvalidRequest
from service.planning.checks.examples import check_split
from service.planning.checks.methods import Form, layer_of
from service.planning.context import Base, Lookup
from service.planning.specs import Loc
from service.store.datasets.items import patterns_of
from service.store.prompts.manifests import PromptManifest

N_LEAST_POINTS = 2
"""Texts that a source must have, and vectors; a cloud of one point has no spread."""

_DENSE_ANYWHERE = frozenset({"isotropic"})
_DENSE_OVER_VECTORS = frozenset({"isotropic", "gaussian", "exclusion", "posterior"})


@dataclass(frozen=True, kw_only=True)
class Room:
    """Where a prior's draws go: prompts of this form, on this model. lookup: finds what priors name."""

    base: Base
    form: Form
    lookup: Lookup


def complete_prior(prior: Prior, *, room: Room, at: Loc) -> Prior:
    """The prior with its references pinned and its numbers of texts written out.

    Args:
        at: where the prior stands in the spec.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    complete = _COMPLETERS.get(type(prior), _complete_fitted)
    return complete(prior, room, at)


def check_density(prior: Prior, *, form: Form, index: int) -> None:
    """Refuse a prior that no penalty can follow, because its draws have no density, or one without a slope.

    Raises:
        InvalidRequest: at ``regularize.weight``.
    """
    dense = _DENSE_OVER_VECTORS if form.prompt_form.has_vectors else _DENSE_ANYWHERE
    if prior.kind not in dense:
        raise InvalidRequest(
            f"regularize.weight needs priors with a density that pulls somewhere; priors.{index}, {prior.kind!r}, has "
            f"none for a {form.kind} prompt. Those that have one: {', '.join(sorted(dense))}.",
            loc=("regularize", "weight"),
        )


def _complete_fitted(prior: Any, room: Room, at: Loc) -> Prior:
    """A prior that is fitted to a source, or to nothing."""
    source: Source | None = getattr(prior, "fit", None)
    if source is None:
        return prior  # type: ignore[no-any-return]
    return prior.model_copy(update={"fit": _complete_source(source, room, (*at, "fit"))})  # type: ignore[no-any-return]


def _complete_knn(prior: KnnPrior, room: Room, at: Loc) -> Prior:
    source = _complete_source(prior.fit, room, (*at, "fit"))
    if isinstance(source, EmbeddingsSource) and source.embeddings == "vocabulary" and prior.k >= room.base.vocab_size:
        raise InvalidRequest(
            f"k counts neighbours among {room.base.vocab_size} token embeddings, so it is at most "
            f"{room.base.vocab_size - 1}; got {prior.k}.",
            loc=(*at, "k"),
        )
    return prior.model_copy(update={"fit": source})


def _complete_interpolation(prior: InterpolationPrior, room: Room, at: Loc) -> Prior:
    start = _complete_end(prior.from_, room, (*at, "from"))
    return prior.model_copy(update={"from_": start, "to": _complete_end(prior.to, room, (*at, "to"))})


def _complete_end(end: Prior, room: Room, at: Loc) -> Prior:
    """One end of an interpolation; of a prompt only its vectors at the place count, not its form."""
    if isinstance(end, PromptPrior):
        return complete_vectors(end, room=room, at=at)
    return complete_prior(end, room=room, at=at)


def complete_vectors(prior: PromptPrior, *, room: Room, at: Loc) -> Prior:
    """A prompt that is taken for its vectors, of which it must have as many as are drawn, at the place where they go."""
    at = (*at, "ref")
    pinned, manifest = room.lookup.prompt(prior.ref, base=room.base, at=at)
    _require_vectors(prior.ref, manifest, room, at)
    if manifest.n_virtual != room.form.n_virtual:
        raise InvalidRequest(
            f"{prior.ref!r} has {manifest.n_virtual} vectors, {room.form.n_virtual} are asked for; ask for as many as it has.",
            loc=at,
        )
    return prior.model_copy(update={"ref": pinned})


def _complete_posterior(prior: PosteriorPrior, room: Room, at: Loc) -> Prior:
    pinned, n_vectors = [], 0
    for i, ref in enumerate(prior.prompts):
        place = (*at, "prompts", i)
        known, manifest = room.lookup.prompt(ref, base=room.base, at=place)
        _require_vectors(ref, manifest, room, place)
        pinned.append(known)
        n_vectors += FORMS[manifest.kind].n_vectors(manifest.n_virtual)
    _require_enough(prior, n_vectors, at)
    return prior.model_copy(update={"prompts": pinned})


def _require_enough(prior: PosteriorPrior, n_vectors: int, at: Loc) -> None:
    if n_vectors < N_LEAST_POINTS:
        raise InvalidRequest(
            f"A distribution needs at least {N_LEAST_POINTS} vectors, got {n_vectors}.", loc=(*at, "prompts")
        )
    if prior.fit != "mixture" and prior.components is not None:
        raise InvalidRequest(f"components are a mixture's; fit is {prior.fit!r}.", loc=(*at, "components"))
    if prior.fit == "mixture" and (prior.components or 1) > n_vectors:
        raise InvalidRequest(
            f"A mixture of {prior.components} needs at least as many vectors; the prompts have {n_vectors}.",
            loc=(*at, "components"),
        )


def _complete_prompt(prior: PromptPrior, room: Room, at: Loc) -> Prior:
    pinned, manifest = room.lookup.prompt(prior.ref, base=room.base, at=(*at, "ref"))
    form = Form.of(manifest)
    if form != room.form:
        raise InvalidRequest(
            f"A prompt that tuning goes on from must have the form of what is tuned, {room.form}; {prior.ref!r} is {form}.",
            loc=(*at, "ref"),
        )
    return prior.model_copy(update={"ref": pinned})


def _require_vectors(ref: str, manifest: PromptManifest, room: Room, at: Loc) -> None:
    """Refuse a prompt without vectors where those of the room go: its layers, or the token embeddings.

    A prefix is no vectors: where its prior is one of vectors, soft ones are drawn and compiled.
    """
    kind = room.form.prompt_form.drawn_as
    layers = set(room.form.layers or ())
    if manifest.kind != kind or not layers <= set(manifest.layers or ()):
        wanted = kind + (f" prompt with layers {sorted(layers)}" if layers else " prompt")
        raise InvalidRequest(f"Expected a {wanted}, got {ref!r}, which is {Form.of(manifest)}.", loc=at)
    if manifest.d_model != room.base.d_model:
        raise InvalidRequest(
            f"Expected vectors of {room.base.d_model} values, got {ref!r} with {manifest.d_model}.", loc=at
        )


_COMPLETERS: Mapping[type, Callable[[Any, Room, Loc], Prior]] = {
    InterpolationPrior: _complete_interpolation,
    KnnPrior: _complete_knn,
    PosteriorPrior: _complete_posterior,
    PromptPrior: _complete_prompt,
}
"""Priors that name more than a source."""


def _complete_source(source: Source, room: Room, at: Loc) -> Source:
    if isinstance(source, ActivationsSource):
        points = source.activations
        if points.layer is not None:
            layer_of(points.layer, base=room.base, at=(*at, "activations", "layer"))
        return source.model_copy(update={"activations": _complete_points(points, room, (*at, "activations"))})
    if isinstance(source.embeddings, DatasetPoints):
        return source.model_copy(update={"embeddings": _complete_points(source.embeddings, room, (*at, "embeddings"))})
    return source


def _complete_points(points: DatasetPoints | LayerPoints, room: Room, at: Loc) -> DatasetPoints | LayerPoints:
    """The points with ``n`` cut to what there is, if it was the default; InvalidRequest if it was asked for."""
    dataset = room.lookup.dataset(points.dataset, at=(*at, "dataset"))
    patterns_of(dataset, template=None, loc=(*at, "dataset"))
    n_there = check_split(dataset, split=points.split, name=points.dataset, at=(*at, "split"), n_least=N_LEAST_POINTS)
    if "n" in points.model_fields_set:
        check_split(dataset, split=points.split, name=points.dataset, at=(*at, "n"), n_least=points.n)
    return points.model_copy(update={"n": min(points.n, n_there)})
