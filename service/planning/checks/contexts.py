"""Checks of what a model reads in front of items: shots, chats, and fields of records."""

from __future__ import annotations

from promptatlas.types.generation import Context, FieldContext, Shots, is_chat

from service.errors import InvalidRequest
from service.planning.checks.examples import check_split
from service.planning.specs import Loc
from service.store.datasets.items import DatasetInfo


def check_context(context: Context | None, *, dataset: DatasetInfo, at: Loc) -> None:
    """Raise InvalidRequest if the dataset has too few examples for the shots, or not the field of the context."""
    if isinstance(context, Shots):
        n_least = context.shots + 1
        check_split(dataset, split=context.split, name=dataset.name, at=(*at, "shots"), n_least=n_least)
    if isinstance(context, FieldContext) and context.field not in dataset.fields:
        raise InvalidRequest(
            f"Expected a field that every record of {dataset.name[:80]!r} has: {', '.join(dataset.fields) or 'none'}; got "
            f"{context.field!r}.",
            loc=(*at, "field"),
        )


def check_chat(context: Context | None, *, name: str, has_chat_template: bool, at: Loc) -> None:
    """Raise InvalidRequest if the context is a chat and the model ``name`` has no chat template."""
    if is_chat(context) and not has_chat_template:
        raise InvalidRequest(
            f"Expected a text, shots or a field without a role for {name}, which has no chat template; got turns of a chat.",
            loc=at,
        )
