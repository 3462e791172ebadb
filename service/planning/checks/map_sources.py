"""Checks of a map's sources: whether they have points at its layers, and names for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from promptatlas.types.maps import (
    DatasetSource,
    EmbeddingsMapSource,
    MapSource,
    PriorSource,
    PromptsSource,
    TextsSource,
    Trajectories,
    TrajectoriesSource,
)
from promptatlas.types.references import Concat, PromptRef

from service.errors import InvalidRequest
from service.planning.checks.examples import check_split, n_available
from service.planning.checks.methods import check_room
from service.planning.checks.priors import DrawTarget, complete_prior
from service.planning.checks.prompt_refs import pin_prompt, pin_prompts
from service.planning.context import Base, Resolver
from service.planning.specs import Loc
from service.store.datasets.items import patterns_of
from service.store.prompts.manifests import PromptManifest

MAX_NAME = 100
MANY_POINTS = 1 << 40
"""Number of points of a source whose points are not counted here, but are enough for a map."""


@dataclass(frozen=True, kw_only=True)
class SourceContext:
    """What a source is checked against. layers: of the map, counted from 0. at: location of the source in the spec."""

    base: Base
    layers: Sequence[int]
    resolver: Resolver
    at: Loc


@dataclass(frozen=True, kw_only=True)
class CompletedSource:
    """A source with pinned references. n_points: upper limit, by layer. name: derived from the other fields."""

    source: MapSource
    n_points: Mapping[int, int]
    name: str


def complete_sources(
    sources: Sequence[MapSource], *, base: Base, layers: Sequence[int], resolver: Resolver, at: Loc = ("sources",)
) -> list[CompletedSource]:
    """Each source completed, with the given name or a derived one that is distinct.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    found: list[CompletedSource] = []
    taken = {source.name for source in sources if source.name is not None}
    for i, source in enumerate(sources):
        context = SourceContext(base=base, layers=layers, resolver=resolver, at=(*at, i))
        done = _COMPLETERS[type(source)](source, context)
        name = source.name if source.name is not None else _distinct_name(done.name, taken)
        taken.add(name)
        named = done.source.model_copy(update={"name": name})
        found.append(CompletedSource(source=named, n_points=done.n_points, name=name))
    return found


def _complete_dataset(source: DatasetSource, context: SourceContext) -> CompletedSource:
    info = context.resolver.dataset(source.dataset, at=(*context.at, "dataset"))
    patterns_of(info, template=source.template, loc=(*context.at, "template"))
    n = min(source.n, n_available(info, split=source.split, name=source.dataset, at=(*context.at, "split")))
    ref, n_virtual = _pin(source.prompt_ref, context)
    check_room(n_virtual, base=context.base, at=(*context.at, "prompt_ref"))
    name = source.dataset if source.split is None else f"{source.dataset}/{source.split}"
    return CompletedSource(
        source=source.model_copy(update={"n": n, "prompt_ref": ref}),
        n_points=dict.fromkeys(context.layers, n if source.per == "text" else MANY_POINTS),
        name=name + _under(ref),
    )


def _complete_texts(source: TextsSource, context: SourceContext) -> CompletedSource:
    ref, n_virtual = _pin(source.prompt_ref, context)
    check_room(n_virtual, base=context.base, at=(*context.at, "prompt_ref"))
    n = len(source.texts) if source.per == "text" else MANY_POINTS
    return CompletedSource(
        source=source.model_copy(update={"prompt_ref": ref}),
        n_points=dict.fromkeys(context.layers, n),
        name="texts" + _under(ref),
    )


def _complete_prompts(source: PromptsSource, context: SourceContext) -> CompletedSource:
    at = (*context.at, "prompts")
    pinned, manifests = pin_prompts(source.prompts, base=context.base, resolver=context.resolver, at=at)
    counts = dict.fromkeys(context.layers, 0)
    for i, (ref, manifest) in enumerate(zip(source.prompts, manifests, strict=True)):
        for layer in _layers_with_points(manifest, ref=ref, context=context, at=(*at, i)):
            # The run knows how many snapshots there are.
            n_vectors = manifest.form.n_vectors(manifest.n_virtual)
            counts[layer] += MANY_POINTS if source.snapshots else n_vectors * (2 if source.draws else 1)
    return CompletedSource(
        source=source.model_copy(update={"prompts": pinned}),
        n_points=counts,
        name=pinned[0] if len(pinned) == 1 else "prompts",
    )


def _layers_with_points(manifest: PromptManifest, *, ref: str, context: SourceContext, at: Loc) -> list[int]:
    """Layers of the map where a prompt has vectors, or states that its lower vectors have become."""
    form = manifest.form
    if not form.has_vectors:
        raise InvalidRequest(
            f"{ref!r} cannot be shown on a map: {form.why_no_vectors}. A map can show texts that are read under it "
            "(prompt_ref).",
            loc=at,
        )
    found = form.layers_with_states(manifest.layers, where=manifest.where, wanted=context.layers)
    if not found:
        own = sorted(form.state_layer(layer) for layer in manifest.layers or ())
        above = f" and is carried above layer {own[0]}" if manifest.where == "carried" else ""
        raise InvalidRequest(
            f"{ref!r} has vectors at layers {own}{above}, at none of the map's layers {list(context.layers)}.", loc=at
        )
    return found


def _complete_prior(source: PriorSource, context: SourceContext) -> CompletedSource:
    prior = source.prior
    for layer in context.layers:
        # Layer 0 is the token embeddings.
        target = DrawTarget.vectors(source.n, layer=layer or None, base=context.base, resolver=context.resolver)
        prior = complete_prior(source.prior, target=target, at=(*context.at, "prior"))
    return CompletedSource(
        source=source.model_copy(update={"prior": prior}),
        n_points=dict.fromkeys(context.layers, source.n),
        name=f"{source.prior.kind} prior",
    )


def _complete_trajectories(source: TrajectoriesSource, context: SourceContext) -> CompletedSource:
    given, at = source.trajectories, (*context.at, "trajectories")
    if (given.inputs is None) == (given.dataset is None):
        raise InvalidRequest("Expected either inputs or a dataset: one of the two.", loc=at)
    n, of = _n_inputs(given, context, at)
    ref, n_virtual = _pin(given.prompt_ref, context, at=at)
    check_room(n_virtual, base=context.base, at=(*at, "max_tokens"), n_text=1 + given.max_tokens)
    complete = given.model_copy(update={"prompt_ref": ref, "n": n})
    return CompletedSource(
        source=source.model_copy(update={"trajectories": complete}),
        n_points=dict.fromkeys(context.layers, MANY_POINTS),
        name="trajectories" + of + _under(ref),
    )


def _n_inputs(given: Trajectories, context: SourceContext, at: Loc) -> tuple[int, str]:
    """The number of inputs, and the end of the source's name."""
    if given.dataset is None:
        return given.n, ""
    info = context.resolver.dataset(given.dataset, at=(*at, "dataset"))
    patterns_of(info, template=None, loc=(*at, "dataset"))
    n_examples = check_split(info, split=given.split, name=given.dataset, at=(*at, "split"))
    return min(given.n, n_examples), f" of {given.dataset}"


def _complete_vocabulary(source: EmbeddingsMapSource, context: SourceContext) -> CompletedSource:
    if 0 not in context.layers:
        raise InvalidRequest(
            f"Token embeddings are at layer 0, which is not among the map's layers {list(context.layers)}.",
            loc=(*context.at, "embeddings"),
        )
    n = context.base.vocab_size if source.n is None else min(source.n, context.base.vocab_size)
    return CompletedSource(source=source, n_points={0: n}, name="vocabulary")


_COMPLETERS: Mapping[type[Any], Callable[[Any, SourceContext], CompletedSource]] = {
    DatasetSource: _complete_dataset,
    TextsSource: _complete_texts,
    PromptsSource: _complete_prompts,
    PriorSource: _complete_prior,
    TrajectoriesSource: _complete_trajectories,
    EmbeddingsMapSource: _complete_vocabulary,
}


def _pin(ref: PromptRef | None, context: SourceContext, *, at: Loc | None = None) -> tuple[PromptRef | None, int]:
    """The pinned reference, and the number of positions that its prompt takes."""
    at = (*(context.at if at is None else at), "prompt_ref")
    return pin_prompt(ref, base=context.base, resolver=context.resolver, at=at)


def _under(ref: PromptRef | None) -> str:
    """The part of a derived name that names the prompt."""
    if ref is None:
        return ""
    if isinstance(ref, str):
        return f" under {ref}"
    return " under a concatenation" if isinstance(ref, Concat) else " under a mix"


def _distinct_name(name: str, taken: Set[str]) -> str:
    """The name, with a number appended if it is taken."""
    name = name[:MAX_NAME]
    number = 2
    distinct = name
    while distinct in taken:
        distinct = f"{name[: MAX_NAME - 6]} ({number})"
        number += 1
    return distinct
