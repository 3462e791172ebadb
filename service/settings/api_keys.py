"""API keys as they are configured: owner, scope, hash, expiry and limits of each key; keys themselves are never stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

Scope = Literal["read", "write", "admin"]

_EXPECTED = (
    "expected name:scope:sha256-of-key with a scope of read, write or admin and 64 hexadecimal digits, "
    "got something else{for_name}"
)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """An accepted API key: name of its owner, scope, and sha256 of the key in hexadecimal. Keys may share a name.

    expires: the key is refused from then on; None: never. requests_per_minute, tokens_per_minute, max_rows: limits of the
    owner; None: the defaults of the settings.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    scope: Scope
    sha256: Annotated[str, BeforeValidator(_lower), Field(pattern=r"^[0-9a-f]{64}$")]
    expires: AwareDatetime | None = None
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    max_rows: Annotated[int, Field(ge=1)] | None = None


KEY_RECORD: TypeAdapter[ApiKey] = TypeAdapter(ApiKey)
"""Converts keys from and to JSON objects."""


def parse_key(item: str) -> ApiKey:
    """The key of ``name:scope:sha256-of-key``; ValueError otherwise."""
    name, _, rest = item.partition(":")
    scope, _, digest = rest.partition(":")
    try:
        return KEY_RECORD.validate_python({"name": name, "scope": scope, "sha256": digest})
    except ValidationError:
        # The received value is not repeated, because it is often the key itself in place of its hash, or of all of it.
        for_name = f" for {name[:80]!r}" if item.count(":") >= 2 else ""
        raise ValueError(_EXPECTED.format(for_name=for_name)) from None


def read_keys_file(path: Path) -> Sequence[ApiKey]:
    """The keys of a file: on each line a JSON object with the fields of a key, or ``name:scope:sha256-of-key``.

    Empty lines and lines that begin with ``#`` are skipped.

    Raises:
        ValueError: the file cannot be read, has no line at all, or has a wrong line; the message shows no secret.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("expected a text file in UTF-8") from None
    if not text.strip():
        # A file that is being written is empty for a moment. To configure no key, it must say so in a comment.
        raise ValueError("expected keys or a comment, got an empty file")
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            key = _parse_record(stripped) if stripped.startswith("{") else parse_key(stripped)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if key.sha256 in keys:
            raise ValueError(f"line {number}: the key of {key.name[:80]!r} is in an earlier line already")
        keys[key.sha256] = key
    return tuple(keys.values())


def _parse_record(line: str) -> ApiKey:
    try:
        return KEY_RECORD.validate_json(line)
    except ValidationError as error:
        fault: Any = error.errors(include_url=False, include_input=False)[0]
    if fault["type"] == "json_invalid":
        raise ValueError("expected a JSON object, got invalid JSON")
    names = ", ".join(field.name for field in fields(ApiKey))
    if fault["type"] == "unexpected_keyword_argument":
        raise ValueError(f"expected only the fields {names}, got {str(fault['loc'][0])[:40]!r}")
    raise ValueError(f"{fault['loc'][0]}: {fault['msg'][:1].lower()}{fault['msg'][1:]}")
