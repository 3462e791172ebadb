"""The header of the native prompt format, from the metadata of an uploaded file."""

from __future__ import annotations

from typing import Any

from promptatlas.types.prompts import PromptHeader
from pydantic import ValidationError

from service.errors import InvalidRequest
from service.store.artifacts.sealed_records import canonical_json
from service.store.artifacts.tensor_codec import METADATA_KEY

MAX_NOTES_BYTES = 64 << 10


def header_from(metadata: Any, *, base: str | None) -> PromptHeader:
    """The header; raises InvalidRequest if it is missing or invalid.

    Args:
        base: for a header without one.
    """
    if metadata is None:
        raise InvalidRequest(
            f"A native prompt needs header metadata {METADATA_KEY!r}: JSON with at least 'kind' and 'base'.",
            loc=(METADATA_KEY,),
        )
    if base is not None and isinstance(metadata, dict):
        metadata = {"base": base, **metadata}
    try:
        header = PromptHeader.model_validate(metadata)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part)[:80] for part in (METADATA_KEY, *first["loc"]))
        raise InvalidRequest(f"{place}: {first['msg']}.", loc=(METADATA_KEY, *first["loc"])) from None
    n_bytes = len(canonical_json(header.notes))
    if n_bytes > MAX_NOTES_BYTES:
        raise InvalidRequest(f"Notes may have {MAX_NOTES_BYTES} bytes as JSON; these have {n_bytes}.")
    return header
