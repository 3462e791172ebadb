"""References to tuned prompts, pinned to the versions that they select now."""

from __future__ import annotations

from collections.abc import Sequence

from promptatlas.types.references import Concat, Ensemble, Mix, PromptRef

from service.errors import InvalidRequest
from service.planning.checks.concatenations import concat_form
from service.planning.checks.distinct import require_distinct
from service.planning.checks.methods import Form
from service.planning.context import Base, Resolver
from service.planning.specs import Loc
from service.store.prompts.manifests import PromptManifest


def pin_prompts(
    refs: Sequence[str], *, base: Base, resolver: Resolver, at: Loc
) -> tuple[list[str], list[PromptManifest]]:
    """The pinned references of a list, and the versions that they select.

    Raises:
        NotFound, InvalidRequest: at the reference that selects nothing, a prompt of another model, or the same version as
            an earlier one.
    """
    found = [resolver.prompt(ref, base=base, at=(*at, i)) for i, ref in enumerate(refs)]
    pinned = [known for known, _ in found]
    require_distinct(pinned, what="prompts", at=at)
    return pinned, [manifest for _, manifest in found]


def pin_prompt(ref: PromptRef | None, *, base: Base, resolver: Resolver, at: Loc) -> tuple[PromptRef | None, int]:
    """The pinned reference, mix or concatenation under which states are read, and the number of positions that its prompt takes.

    Raises:
        NotFound, InvalidRequest: at ``at`` or inside it: it selects nothing or a prompt of another model, or several
            prompts differ in form.
    """
    if ref is None:
        return None, 0
    if isinstance(ref, str):
        pinned, manifest = resolver.prompt(ref, base=base, at=at)
        return pinned, manifest.n_virtual
    if isinstance(ref, Ensemble):
        raise InvalidRequest("Expected a prompt or a mix; runs read states under one prompt, not an ensemble.", loc=at)
    if isinstance(ref, Concat):
        return _pin_concat(ref, base=base, resolver=resolver, at=(*at, "concat"))
    found = [resolver.prompt(part.ref, base=base, at=(*at, "mix", i)) for i, part in enumerate(ref.mix)]
    forms = [Form.of(manifest) for _, manifest in found]
    for i, form in enumerate(forms):
        if form != forms[0]:
            raise InvalidRequest(
                f"Expected prompts of one form in a mix; the first is {forms[0]}, this one is {form}.",
                loc=(*at, "mix", i),
            )
    parts = [part.model_copy(update={"ref": pinned}) for part, (pinned, _) in zip(ref.mix, found, strict=True)]
    return Mix(mix=parts), forms[0].n_virtual


def _pin_concat(ref: Concat, *, base: Base, resolver: Resolver, at: Loc) -> tuple[Concat, int]:
    found = [resolver.prompt(part, base=base, at=(*at, i)) for i, part in enumerate(ref.concat)]
    forms = [Form.of(manifest) for _, manifest in found]
    form = concat_form(forms, refs=ref.concat, n_positions=base.n_positions, at=at)
    return Concat(concat=[pinned for pinned, _ in found]), form.n_virtual
