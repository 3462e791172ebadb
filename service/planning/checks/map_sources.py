"""Can a map's sources give points at its layers; and what they are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from promptatlas.types.forms import FORMS
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
from promptatlas.types.priors import Prior, PromptPrior
from promptatlas.types.references import PromptRef

from service.errors import InvalidRequest
from service.planning.checks.examples import check_split
from service.planning.checks.methods import Form, check_room
from service.planning.checks.priors import Room, complete_prior, complete_vectors
from service.planning.checks.prompt_refs import pin_prompt
from service.planning.context import Base, Lookup
from service.planning.specs import Loc
from service.store.datasets.items import DatasetInfo, patterns_of
from service.store.prompts.manifests import PromptManifest

MAX_NAME = 100
UNKNOWN_MANY = 1 << 40
"""Points of a source of which there are enough, however many."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a map's points come from. layers: of the map, counted from 0. at: where the source stands in the spec."""

    base: Base
    layers: Sequence[int]
    lookup: Lookup
    at: Loc


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A source with its references pinned. n_points: how many it has at most, by layer. name: made from the rest."""

    source: MapSource
    n_points: Mapping[int, int]
    name: str


def complete_sources(
    sources: Sequence[MapSource], *, base: Base, layers: Sequence[int], lookup: Lookup, at: Loc = ("sources",)
) -> list[Completed]:
    """Each source completed, with its own name, or one of its own made for it.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    found: list[Completed] = []
    taken = {source.name for source in sources if source.name is not None}
    for i, source in enumerate(sources):
        place = Place(base=base, layers=layers, lookup=lookup, at=(*at, i))
        done = _COMPLETERS[type(source)](source, place)
        name = source.name if source.name is not None else _free(done.name, taken)
        taken.add(name)
        named = done.source.model_copy(update={"name": name})
        found.append(Completed(source=named, n_points=done.n_points, name=name))
    return found


def _complete_dataset(source: DatasetSource, place: Place) -> Completed:
    info = place.lookup.dataset(source.dataset, at=(*place.at, "dataset"))
    patterns_of(info, template=source.template, loc=(*place.at, "template"))
    n = min(source.n, _n_there(info, source, place))
    ref, n_virtual = _pin(source.prompt_ref, place)
    check_room(n_virtual, base=place.base, at=(*place.at, "prompt_ref"))
    name = source.dataset if source.split is None else f"{source.dataset}/{source.split}"
    return Completed(
        source=source.model_copy(update={"n": n, "prompt_ref": ref}),
        n_points=dict.fromkeys(place.layers, n if source.per == "text" else UNKNOWN_MANY),
        name=name + _under(ref),
    )


def _complete_texts(source: TextsSource, place: Place) -> Completed:
    ref, n_virtual = _pin(source.prompt_ref, place)
    check_room(n_virtual, base=place.base, at=(*place.at, "prompt_ref"))
    n = len(source.texts) if source.per == "text" else UNKNOWN_MANY
    return Completed(
        source=source.model_copy(update={"prompt_ref": ref}),
        n_points=dict.fromkeys(place.layers, n),
        name="texts" + _under(ref),
    )


def _complete_prompts(source: PromptsSource, place: Place) -> Completed:
    pinned: list[str] = []
    counts = dict.fromkeys(place.layers, 0)
    for i, ref in enumerate(source.prompts):
        at = (*place.at, "prompts", i)
        known, manifest = place.lookup.prompt(ref, base=place.base, at=at)
        if known in pinned:
            raise InvalidRequest(f"{known} stands twice.", loc=at)
        pinned.append(known)
        for layer in _layers_of(manifest, ref=ref, place=place, at=at):
            # With ways through training, draws and snapshots come in addition.
            n_vectors = FORMS[manifest.kind].n_vectors(manifest.n_virtual)
            counts[layer] += UNKNOWN_MANY if source.snapshots else n_vectors * (2 if source.draws else 1)
    return Completed(
        source=source.model_copy(update={"prompts": pinned}),
        n_points=counts,
        name=pinned[0] if len(pinned) == 1 else "prompts",
    )


def _layers_of(manifest: PromptManifest, *, ref: str, place: Place, at: Loc) -> list[int]:
    """Layers of the map where a prompt has vectors, or states that they become."""
    form = FORMS[manifest.kind]
    if not form.has_vectors:
        raise InvalidRequest(
            f"{ref!r} has no place on a map: {form.why_no_vectors}. Its effect shows in texts read under it (prompt_ref).",
            loc=at,
        )
    n_layers = place.base.n_layers
    found = form.layers_with_states(manifest.layers, where=manifest.where, n_layers=n_layers, wanted=place.layers)
    if not found:
        own = sorted(form.state_layer(layer) for layer in manifest.layers or ())
        above = f", and is carried on above {own[0]}" if manifest.where == "carried" else ""
        raise InvalidRequest(
            f"{ref!r} has vectors at layers {own}{above}: at none of the map's layers {list(place.layers)}.", loc=at
        )
    return found


def _complete_prior(source: PriorSource, place: Place) -> Completed:
    at = (*place.at, "prior")
    prior: Prior = source.prior
    for layer in place.layers:
        form = Form(kind="soft", n_virtual=source.n)
        if layer > 0:
            form = Form(kind="deep", n_virtual=source.n, layers=(layer,), where="local")
        room = Room(base=place.base, form=form, lookup=place.lookup)
        if isinstance(source.prior, PromptPrior):
            prior = complete_vectors(source.prior, room=room, at=at)
        else:
            prior = complete_prior(source.prior, room=room, at=at)
    return Completed(
        source=source.model_copy(update={"prior": prior}),
        n_points=dict.fromkeys(place.layers, source.n),
        name=f"{source.prior.kind} prior",
    )


def _complete_trajectories(source: TrajectoriesSource, place: Place) -> Completed:
    asked, at = source.trajectories, (*place.at, "trajectories")
    if (asked.inputs is None) == (asked.dataset is None):
        raise InvalidRequest("Trajectories go on from either inputs or a dataset's: give one of the two.", loc=at)
    n, of = _n_inputs(asked, place, at)
    ref, n_virtual = _pin(asked.prompt_ref, place, at=at)
    check_room(n_virtual, base=place.base, at=(*at, "max_tokens"), n_text=1 + asked.max_tokens)
    complete = asked.model_copy(update={"prompt_ref": ref, "n": n})
    return Completed(
        source=source.model_copy(update={"trajectories": complete}),
        n_points=dict.fromkeys(place.layers, UNKNOWN_MANY),
        name="trajectories" + of + _under(ref),
    )


def _n_inputs(asked: Trajectories, place: Place, at: Loc) -> tuple[int, str]:
    if asked.dataset is None:
        return asked.n, ""
    info = place.lookup.dataset(asked.dataset, at=(*at, "dataset"))
    patterns_of(info, template=None, loc=(*at, "dataset"))
    n_there = check_split(info, split=asked.split, name=asked.dataset, at=(*at, "split"))
    return min(asked.n, n_there), f" of {asked.dataset}"


def _complete_vocabulary(source: EmbeddingsMapSource, place: Place) -> Completed:
    if 0 not in place.layers:
        raise InvalidRequest(
            f"Token embeddings lie at layer 0, and the map has layers {list(place.layers)}: add layer 0, or leave them out.",
            loc=(*place.at, "embeddings"),
        )
    n = place.base.vocab_size if source.n is None else min(source.n, place.base.vocab_size)
    return Completed(source=source, n_points={0: n}, name="vocabulary")


_COMPLETERS: Mapping[type[Any], Callable[[Any, Place], Completed]] = {
    DatasetSource: _complete_dataset,
    TextsSource: _complete_texts,
    PromptsSource: _complete_prompts,
    PriorSource: _complete_prior,
    TrajectoriesSource: _complete_trajectories,
    EmbeddingsMapSource: _complete_vocabulary,
}


def _n_there(info: DatasetInfo, source: DatasetSource, place: Place) -> int:
    if source.split is None:
        return info.n_records
    return check_split(info, split=source.split, name=source.dataset, at=(*place.at, "split"))


def _pin(ref: PromptRef | None, place: Place, *, at: Loc | None = None) -> tuple[PromptRef | None, int]:
    """The reference pinned, and how many positions its prompt takes."""
    at = (*(place.at if at is None else at), "prompt_ref")
    return pin_prompt(ref, base=place.base, lookup=place.lookup, at=at)


def _under(ref: PromptRef | None) -> str:
    if ref is None:
        return ""
    return f" under {ref}" if isinstance(ref, str) else " under a mix"


def _free(name: str, taken: Set[str]) -> str:
    """The name, with a number behind it where it is taken."""
    name = name[:MAX_NAME]
    number = 2
    free = name
    while free in taken:
        free = f"{name[: MAX_NAME - 6]} ({number})"
        number += 1
    return free
