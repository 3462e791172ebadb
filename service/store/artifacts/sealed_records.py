"""Sealed records: JSON objects stored together with the hash of their bytes.

A sealed record is ``{"sha256":"<64 hex>","record":<canonical JSON>}`` and a newline. The hash is over the bytes of the
record as written, so that flipped bits and truncation are detected. The file is plain JSON.
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
    """Canonical JSON: sorted keys, no whitespace, ASCII. ValueError for NaN and infinities, TypeError for other types."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def seal(record: Mapping[str, object]) -> bytes:
    """Serialize and hash ``record``."""
    text = canonical_json(record)
    return b"".join((_HEAD, hashlib.sha256(text).hexdigest().encode("ascii"), _MIDDLE, text, _TAIL))


def unseal(data: bytes, *, label: str) -> dict[str, Any]:
    """Verify and parse a sealed record.

    Args:
        data: Output of ``seal``.
        label: Name in the error message, e.g. ``prompt qa@3, manifest.json``; not a path.

    Raises:
        DamagedArtifact: The hash does not match.
    """
    text = data[_TEXT_AT : -len(_TAIL)]
    digest = hashlib.sha256(text).hexdigest().encode("ascii")
    if data != b"".join((_HEAD, digest, _MIDDLE, text, _TAIL)):
        raise DamagedArtifact(f"{label} is damaged: its content does not match its own hash.")
    record = json.loads(text)
    if not isinstance(record, dict):
        raise DamagedArtifact(f"{label} is damaged: expected a JSON object.")
    return record
