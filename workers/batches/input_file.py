"""The input of a batch: one request per line, checked before anything is generated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from promptatlas.types.batches import BatchFault, BatchSpec

MAX_REQUESTS = 50_000
MAX_LINE_BYTES = 4 << 20
MAX_FAULTS = 50

_MAX_ID = 512
_MAX_SHOWN = 80


@dataclass(frozen=True, kw_only=True)
class LineRequest:
    """One request. number: of the request, from 0."""

    number: int
    custom_id: str
    body: dict[str, Any]


class _BadLine(Exception):
    """A line that is no request. args: code and message; param is the faulty field."""

    def __init__(self, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


def requests_in(stream: BinaryIO, *, spec: BatchSpec) -> Iterator[LineRequest]:
    """The requests of a file that was checked."""
    for number, (_, line) in enumerate(_lines(stream)):
        yield _request(line, number=number, spec=spec)


def check_input(stream: BinaryIO, *, spec: BatchSpec) -> tuple[int, list[BatchFault]]:
    """The number of requests of a file, and its faults, at most ``MAX_FAULTS``. Reads line by line."""
    n_requests, faults = 0, []
    seen: set[bytes] = set()
    for line_number, line in _lines(stream):
        fault = _fault_of(line, number=n_requests, spec=spec, seen=seen)
        n_requests += 1
        if fault is None and n_requests > MAX_REQUESTS:
            message = f"Expected at most {MAX_REQUESTS:,} requests, got more."
            fault = BatchFault(code="too_many_requests", message=message)
        if fault is not None:
            faults.append(fault.model_copy(update={"line": line_number}))
        if len(faults) == MAX_FAULTS or n_requests > MAX_REQUESTS:
            return n_requests, faults
    if not n_requests:
        faults.append(BatchFault(code="empty_file", message="Expected at least one request, got an empty file."))
    return n_requests, faults


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1. A line that is too long is returned cut."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES + 1)
        if line.strip():
            yield number, line


def _fault_of(line: bytes, *, number: int, spec: BatchSpec, seen: set[bytes]) -> BatchFault | None:
    try:
        request = _request(line, number=number, spec=spec)
        digest = hashlib.blake2b(request.custom_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in seen:
            raise _BadLine(
                "duplicate_custom_id",
                f"Expected distinct values of custom_id, got {request.custom_id[:_MAX_SHOWN]!r} twice.",
                param="custom_id",
            )
        seen.add(digest)
    except _BadLine as error:
        return BatchFault(code=error.code, message=str(error), param=error.param)
    return None


def _request(line: bytes, *, number: int, spec: BatchSpec) -> LineRequest:
    if len(line) > MAX_LINE_BYTES:
        raise _BadLine("line_too_long", f"Expected a line of at most {MAX_LINE_BYTES:,} bytes, got a longer one.")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise _BadLine("invalid_json_line", "Expected a JSON object, got something else.") from None
    if not isinstance(found, dict):
        raise _BadLine("invalid_json_line", "Expected a JSON object, got another value.")
    custom_id, body = found.get("custom_id"), found.get("body")
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= _MAX_ID:
        raise _BadLine("invalid_custom_id", f"Expected a custom_id of 1 to {_MAX_ID} characters.", param="custom_id")
    for name, wanted in (("method", "POST"), ("url", spec.endpoint)):
        if found.get(name) != wanted:
            shown = str(found.get(name))[:_MAX_SHOWN]
            raise _BadLine(f"invalid_{name}", f"Expected {name} {wanted!r}, got {shown!r}.", param=name)
    if not isinstance(body, dict):
        raise _BadLine("invalid_body", "Expected an object as body.", param="body")
    model = body.get("model")
    if not isinstance(model, str) or model.partition(":")[0] != spec.model:
        raise _BadLine(
            "mismatched_model",
            f"Expected the model {spec.model!r}, with or without a prompt, in all requests; got {str(model)[:_MAX_SHOWN]!r}.",
            param="body.model",
        )
    return LineRequest(number=number, custom_id=custom_id, body=body)
