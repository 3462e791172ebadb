"""Templates: format strings that turn the fields of a record into input and target.

Templates are parsed once and rendered by concatenation. Python's ``format`` is never called, so a template can access
nothing but fields.
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
    """Input or target of a template. parts: literal text and the field after it, None at the end."""

    parts: tuple[tuple[str, str | None], ...]

    @property
    def names(self) -> frozenset[str]:
        """Fields that the pattern uses."""
        return frozenset(name for _, name in self.parts if name is not None)

    def is_blank(self, fields: Mapping[str, Any]) -> bool:
        """Whether the rendered text would be only whitespace."""
        return not any(literal.strip() or (name and field_text(fields[name]).strip()) for literal, name in self.parts)

    def n_characters(self, fields: Mapping[str, Any]) -> int:
        """Length of the rendered text."""
        return sum(
            len(literal) + (0 if name is None else len(field_text(fields[name]))) for literal, name in self.parts
        )

    def render(self, fields: Mapping[str, Any]) -> str:
        """Render a record that has all of ``names``; raises InvalidRequest if the text would exceed the limit."""
        if self.n_characters(fields) > MAX_TEXT_CHARACTERS:
            raise InvalidRequest(f"The rendered template exceeds {MAX_TEXT_CHARACTERS:,} characters.")
        return "".join(literal + ("" if name is None else field_text(fields[name])) for literal, name in self.parts)


@dataclass(frozen=True, kw_only=True)
class TemplateOverride:
    """Requested changes to a default template; None keeps the default."""

    input: str | None = None
    target: str | None = None


@dataclass(frozen=True, kw_only=True)
class TemplatePatterns:
    """A parsed template."""

    input: Pattern
    target: Pattern

    @property
    def names(self) -> frozenset[str]:
        """Fields that input or target use."""
        return self.input.names | self.target.names


def usable_fields(fields: Mapping[str, Any]) -> list[str]:
    """Names that a template can use, in order: fields with texts, numbers or booleans and a valid name."""
    return [name for name, value in fields.items() if isinstance(value, str | int | float) and _NAME.fullmatch(name)]


def field_text(value: str | int | float) -> str:
    """A field's value as text; numbers and booleans as in JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def complete_template(
    default: Template | None, *, override: TemplateOverride, fields: Collection[str] = ()
) -> Template | None:
    """Apply ``override`` to the default template; None if there is neither.

    Raises:
        InvalidRequest: Only input or only target is given and there is no default for the other.
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
    """Parse a template.

    Args:
        fields: Names that it can use.
        loc: Location in the request.

    Raises:
        InvalidRequest: Braces do not match, a name is not a field, or a field has a format or conversion.
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
        raise refuse("has an unmatched brace; write a literal brace twice.") from None
    found: list[tuple[str, str | None]] = []
    for literal, name, extra, conversion in parts:
        found.append((literal, name))
        if name is None:
            continue
        if name not in fields:
            raise refuse(f"names {json.dumps(name[:60], ensure_ascii=False)}, which is not a field.")
        if extra or conversion:
            raise refuse(f"has a format or conversion in the braces of {name!r}; only {{{name}}} is allowed.")
    if len(found) > MAX_TEMPLATE_FIELDS:
        raise refuse(f"has {len(found)} fields; the limit is {MAX_TEMPLATE_FIELDS}.")
    return Pattern(tuple(found))


def _available_fields(fields: Collection[str]) -> str:
    names = [f"{{{name}}}" for name in list(fields)[:50]]
    return f"The fields there are: {', '.join(names) or 'none'}."
