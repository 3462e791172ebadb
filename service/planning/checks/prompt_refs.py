"""The prompt that states are read under: a reference or a mix, pinned to the versions that it means now."""

from __future__ import annotations

from promptatlas.types.references import Mix, PromptRef

from service.errors import InvalidRequest
from service.planning.checks.methods import Form
from service.planning.context import Base, Lookup
from service.planning.specs import Loc


def pin_prompt(ref: PromptRef | None, *, base: Base, lookup: Lookup, at: Loc) -> tuple[PromptRef | None, int]:
    """The reference pinned, and how many positions its prompt takes.

    Raises:
        NotFound, InvalidRequest: at ``at`` or inside it: there is none, it is of another model, or the parts of a mix differ.
    """
    if ref is None:
        return None, 0
    if isinstance(ref, str):
        pinned, manifest = lookup.prompt(ref, base=base, at=at)
        return pinned, manifest.n_virtual
    found = [lookup.prompt(part.ref, base=base, at=(*at, "mix", i)) for i, part in enumerate(ref.mix)]
    forms = [Form.of(manifest) for _, manifest in found]
    for i, form in enumerate(forms):
        if form != forms[0]:
            raise InvalidRequest(
                f"The prompts of a mix must have one form: the first is {forms[0]}, this is {form}.",
                loc=(*at, "mix", i),
            )
    parts = [part.model_copy(update={"ref": pinned}) for part, (pinned, _) in zip(ref.mix, found, strict=True)]
    return Mix(mix=parts), forms[0].n_virtual
