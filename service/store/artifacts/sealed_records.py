"""Sealed records: one JSON object in a file that carries the hash of its own text.

A sealed record is ``{"sha256":"<64 hex>","record":<canonical JSON>}`` and a newline. The hash is over the bytes of the
record as written, so a single flipped bit anywhere, or a cut, is seen. It is still plain JSON for whoever looks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from service.errors import DamagedArtifact

_HEAD = b'{"sha256":"'
_MIDDLE = b'","record":'
_TAIL = b"}\n"
_TEXT_AT = len(_HEAD) + 64 + len(_MIDDLE)


def canonical_json(value: object) -> bytes:
    """One spelling per value: sorted keys, no blanks, ASCII. ValueError for NaN and infinities, TypeError for no JSON"""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def seal(record: Mapping[str, object]) -> bytes:
    """The bytes to store for ``record``."""
    text = canonical_json(record)
    return b"".join((_HEAD, hashlib.sha256(text).hexdigest().encode("ascii"), _MIDDLE, text, _TAIL))


def unseal(data: bytes, *, label: str) -> dict[str, Any]:
    """The record in ``data``.

    Args:
        data: what ``seal`` made.
        label: what the error calls it, e.g. ``prompt qa@3, manifest.json``; no path.

    Raises:
        DamagedArtifact: the bytes are not what was sealed.
    """
    text = data[_TEXT_AT : -len(_TAIL)]
    digest = hashlib.sha256(text).hexdigest().encode("ascii")
    if data != b"".join((_HEAD, digest, _MIDDLE, text, _TAIL)):
        raise DamagedArtifact(f"{label} is damaged: its content does not match its own hash.")
    record = json.loads(text)
    if not isinstance(record, dict):
        raise DamagedArtifact(f"{label} is damaged: an object was expected in it.")
    return record
