"""Checks of prompts that follow one another in front of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from service.errors import InvalidRequest
from service.planning.checks.methods import Form
from service.planning.specs import Loc


def concat_form(forms: Sequence[Form], *, refs: Sequence[str], n_positions: int, at: Loc) -> Form:
    """The form of prompts one after the other; n_virtual is the sum.

    Args:
        refs: names of the prompts, for messages. n_positions: of the model.

    Raises:
        InvalidRequest: at ``at``: a kind without virtual positions, prompts of different kinds or layers, or more virtual
            positions than leave room for a text.
    """
    first = forms[0]
    for ref, form in zip(refs, forms, strict=True):
        if not form.prompt_form.takes_positions:
            raise InvalidRequest(
                f"{ref!r} is a {form.kind} prompt, which has no virtual positions, so that no prompt can follow it. Expected "
                "prompts with virtual positions, or a mix.",
                loc=at,
            )
        if replace(form, n_virtual=first.n_virtual) != first:
            raise InvalidRequest(
                "Prompts that follow one another must have one kind and the same layers: "
                f"{refs[0]!r} is {first}, {ref!r} is {form}.",
                loc=at,
            )
    n_virtual = sum(form.n_virtual for form in forms)
    if n_virtual >= n_positions:
        raise InvalidRequest(
            f"Expected fewer virtual positions in total than the {n_positions} positions of the model, got {n_virtual}.",
            loc=at,
        )
    return replace(first, n_virtual=n_virtual)
