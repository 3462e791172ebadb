"""Templates: how a record's fields become what the model reads.

A template is taken apart once and then only ever joined together again: Python's own ``format`` is never called, so that
a template can name a field and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from promptatlas.types import Template

from service.errors import InvalidRequest

MAX_TEMPLATE_FIELDS = 64
MAX_TEXT_CHARACTERS = 32 << 20

_NAME = re.compile(r"[^\W\d][\w -]{0,99}")
_QUERY: tuple[str | int, ...] = ("query",)


@dataclass(frozen=True)
class Pattern:
    """One side of a template. parts: literal text and the field that follows it, None at the end."""

    parts: tuple[tuple[str, str | None], ...]

    @property
    def names(self) -> frozenset[str]:
        """The fields that it takes."""
        return frozenset(name for _, name in self.parts if name is not None)

    def is_blank(self, fields: Mapping[str, Any]) -> bool:
        """Whether nothing but blanks would be in the text."""
        return not any(literal.strip() or (name and field_text(fields[name]).strip()) for literal, name in self.parts)

    def n_characters(self, fields: Mapping[str, Any]) -> int:
        """How long the text would be."""
        return sum(
            len(literal) + (0 if name is None else len(field_text(fields[name]))) for literal, name in self.parts
        )

    def render(self, fields: Mapping[str, Any]) -> str:
        """The text for a record that has all of ``names``; InvalidRequest when it would be absurdly long."""
        if self.n_characters(fields) > MAX_TEXT_CHARACTERS:
            raise InvalidRequest(f"The template makes a text of more than {MAX_TEXT_CHARACTERS:,} characters.")
        return "".join(literal + ("" if name is None else field_text(fields[name])) for literal, name in self.parts)


@dataclass(frozen=True, kw_only=True)
class TemplateOverride:
    """What a template is asked to be: None leaves a side as it is by default."""

    input: str | None = None
    target: str | None = None


@dataclass(frozen=True, kw_only=True)
class TemplatePatterns:
    """A template taken apart."""

    input: Pattern
    target: Pattern

    @property
    def names(self) -> frozenset[str]:
        """The fields that it takes, on either side."""
        return self.input.names | self.target.names


def usable_fields(fields: Mapping[str, Any]) -> list[str]:
    """Names that a template may use, in order: those of texts, numbers and truth values, if they can be written in it."""
    return [name for name, value in fields.items() if isinstance(value, str | int | float) and _NAME.fullmatch(name)]


def field_text(value: str | int | float) -> str:
    """A field's value as it stands in the text; numbers and truth values as in JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def complete_template(
    default: Template | None, *, override: TemplateOverride, fields: Collection[str] = ()
) -> Template | None:
    """The default with those sides replaced that are given; None when nothing is given and there is no default.

    Raises:
        InvalidRequest: one side is given and there is no default for the other.
    """
    if override == TemplateOverride():
        return default
    for side, given in (("input", override.input), ("target", override.target)):
        if given is None and default is None:
            raise InvalidRequest(
                f"A template needs both 'input' and 'target' here, as there is no default for {side!r}. "
                f"{_available_fields(fields)}",
                loc=("query", side),
            )
    base = default or Template(input="", target="")
    return Template(
        input=base.input if override.input is None else override.input,
        target=base.target if override.target is None else override.target,
    )


def parse_template(
    template: Template, *, fields: Collection[str], loc: tuple[str | int, ...] = _QUERY
) -> TemplatePatterns:
    """Take a template apart.

    Args:
        fields: names that it may use.
        loc: where in the request it stands.

    Raises:
        InvalidRequest: braces do not match, it names something else than a field, or more than names it; with the
            fields that there are.
    """
    return TemplatePatterns(
        input=_parse(template.input, side="input", fields=fields, loc=loc),
        target=_parse(template.target, side="target", fields=fields, loc=loc),
    )


def _parse(text: str, *, side: str, fields: Collection[str], loc: tuple[str | int, ...]) -> Pattern:
    def refuse(reason: str) -> InvalidRequest:
        return InvalidRequest(f"The template's {side} {reason} {_available_fields(fields)}", loc=(*loc, side))

    try:
        parts = list(Formatter().parse(text))
    except ValueError:
        raise refuse("has a brace without its other; a brace that is meant as one is written twice.") from None
    found: list[tuple[str, str | None]] = []
    for literal, name, extra, conversion in parts:
        found.append((literal, name))
        if name is None:
            continue
        if name not in fields:
            raise refuse(f"names {json.dumps(name[:60], ensure_ascii=False)}, which is no field.")
        if extra or conversion:
            raise refuse(f"has more than the name in the braces of {name!r}; only {{{name}}} is taken.")
    if len(found) > MAX_TEMPLATE_FIELDS:
        raise refuse(f"has {len(found)} places for fields, where {MAX_TEMPLATE_FIELDS} are the most.")
    return Pattern(tuple(found))


def _available_fields(fields: Collection[str]) -> str:
    names = [f"{{{name}}}" for name in list(fields)[:50]]
    return f"The fields there are: {', '.join(names) or 'none'}."
