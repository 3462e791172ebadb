"""API keys as they are configured: owner, scope and hash of each key; the keys themselves are never stored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

Scope = Literal["read", "write", "admin"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """An accepted API key: name of its owner, scope, and sha256 of the key in hexadecimal."""

    name: str
    scope: Scope
    sha256: str


def parse_key(item: str) -> ApiKey:
    """The key of ``name:scope:sha256-of-key``; ValueError otherwise."""
    name, _, rest = item.partition(":")
    scope, _, digest = rest.partition(":")
    # The received value is not repeated, because it is often the key itself in place of its hash.
    if not name or scope not in ("read", "write", "admin") or not _SHA256.fullmatch(digest.lower()):
        raise ValueError(
            "expected name:scope:sha256-of-key with a scope of read, write or admin and 64 hexadecimal digits, "
            f"got something else for {name[:80]!r}"
        )
    return ApiKey(name=name, scope=cast(Scope, scope), sha256=digest.lower())
