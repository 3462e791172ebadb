"""Can a ``report`` run work: datasets with text, prompts of the model, layers and priors that exist."""

from __future__ import annotations

from promptatlas.types import PromptPrior
from promptatlas.types.reports import ReportSpec

from service.errors import InvalidRequest
from service.planning.checks.methods import Form, check_room
from service.planning.checks.priors import Room, complete_prior
from service.planning.context import Base, Lookup
from service.planning.kinds.map import map_layers

# As many vectors as the report draws of a prior that it only looks at.
N_DRAWN = 100
MIN_TEXTS = 20


def complete_report(spec: ReportSpec, lookup: Lookup) -> ReportSpec:
    """The spec with layers counted from 0, and prompts and priors pinned.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    base = lookup.model(spec.model)
    _check_datasets(spec, lookup)
    check_room(0, base=base, at=("max_tokens",), n_text=1 + spec.max_tokens)
    layers = spec.layers if spec.layers == "all" else map_layers(spec.layers, base=base, at=("layers",))
    return spec.model_copy(
        update={
            "layers": layers,
            "prompts": _pinned(spec, base, lookup),
            "priors": _priors(spec, base, lookup),
        }
    )


def _check_datasets(spec: ReportSpec, lookup: Lookup) -> None:
    for i, name in enumerate(spec.datasets):
        at = ("datasets", i)
        if name in spec.datasets[:i]:
            raise InvalidRequest(f"Dataset {name!r} stands twice.", loc=at)
        info = lookup.dataset(name, at=at)
        # The split that is read: the first of these with any records.
        counts = [info.splits.get(split, 0) for split in ("test", "validation", "train")]
        n_read = next((count for count in counts if count), 0)
        if n_read < MIN_TEXTS:
            raise InvalidRequest(
                f"A report reads at least {MIN_TEXTS} texts of a split; {name!r} has {n_read}.", loc=at
            )


def _pinned(spec: ReportSpec, base: Base, lookup: Lookup) -> list[str]:
    pinned: list[str] = []
    for i, ref in enumerate(spec.prompts):
        known, _ = lookup.prompt(ref, base=base, at=("prompts", i))
        if known in pinned:
            raise InvalidRequest(f"{known} stands twice.", loc=("prompts", i))
        pinned.append(known)
    return pinned


def _priors(spec: ReportSpec, base: Base, lookup: Lookup) -> list[object]:
    room = Room(base=base, form=Form(kind="soft", n_virtual=N_DRAWN), lookup=lookup)
    found: list[object] = []
    for i, prior in enumerate(spec.priors):
        if isinstance(prior, PromptPrior):
            raise InvalidRequest("A prompt is measured as itself: put it under prompts.", loc=("priors", i, "kind"))
        found.append(complete_prior(prior, room=room, at=("priors", i)))
    return found
