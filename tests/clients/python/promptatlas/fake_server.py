"""A fake server with prepared responses, which records its requests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

Answer = httpx.Response | Exception

STREAMED = {"content-type": "text/event-stream"}
"""Headers of a stream of events."""

METADATA: dict[str, Any] = {
    "model": "demo",
    "revision": "ab" * 32,
    "prompt": {"ref": "qa@2", "sha256": "sha256:" + "cd" * 32, "kind": "soft", "n_virtual": 3},
    "dtype": "float32",
    "attention": "sdpa",
    "versions": {"promptatlas": "0.1.0"},
    "request_id": "req_7",
}


@dataclass
class FakeServer:
    """Responds with its answers in order, and repeats the last one."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, stream=answer.stream)

    def will(self, *answers: Answer) -> None:
        self.answers = list(answers)

    @property
    def request(self) -> httpx.Request:
        """The last request."""
        return self.requests[-1]

    @property
    def sent(self) -> Any:
        """The JSON of the last request."""
        return json.loads(self.request.content)


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that arrives in these chunks, and may break off."""

    def __init__(self, *pieces: bytes, then: Exception | None = None) -> None:
        self._pieces = pieces
        self._then = then
        self.closed = False

    def __iter__(self) -> Any:
        yield from self._pieces
        if self._then is not None:
            raise self._then

    async def __aiter__(self) -> Any:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.close()


def reply(body: Any, *, status: int = 200, **headers: str) -> httpx.Response:
    """A JSON answer; underscores in header names are dashes."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=names)


def problem(status: int, detail: str = "no", **headers: str) -> httpx.Response:
    """A problem as RFC 9457 writes it."""
    body = {"type": "about:blank", "title": "Problem", "status": status, "detail": detail, "request_id": "req_9"}
    answer = reply(body, status=status, **headers)
    answer.headers["content-type"] = "application/problem+json"
    return answer


def events(*messages: Any, done: bool = True) -> bytes:
    """Messages as an event stream."""
    lines = [f"data: {json.dumps(message, ensure_ascii=False)}\n\n" for message in messages]
    return ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


def bfloat16(values: Any) -> tuple[bytes, Sequence[int]]:
    """Values that bfloat16 holds exactly, as its bytes, with their shape."""
    floats = np.asarray(values, np.float32)
    bits = floats.view(np.uint32)
    assert not (bits & 0xFFFF).any(), "choose values that bfloat16 holds"
    return (bits >> 16).astype("<u2").tobytes(), floats.shape


def tensor_bytes(
    tensors: Mapping[str, Any], *, metadata: Mapping[str, Any] = METADATA, bf16: Mapping[str, Any] | None = None
) -> bytes:
    """A result file; ``bf16`` are tensors to store as bfloat16."""
    # Written out by hand: the library's numpy side cannot write bfloat16.
    stored = {name: _stored(np.asarray(value)) for name, value in tensors.items()}
    stored |= {name: ("BF16", *bfloat16(value)) for name, value in (bf16 or {}).items()}
    header: dict[str, Any] = {"__metadata__": {"promptatlas": json.dumps(dict(metadata))}}
    content = b""
    for name, (kind, data, shape) in stored.items():
        offsets = [len(content), len(content) + len(data)]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": offsets}
        content += data
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def _stored(array: npt.NDArray[Any]) -> tuple[str, bytes, Sequence[int]]:
    kinds = {"float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "uint8": "U8", "bool": "BOOL"}
    return kinds[array.dtype.name], array.tobytes(), array.shape


def activation_tensors() -> dict[str, Any]:
    """Two inputs of two and three tokens, three values a row: row r has 10·r, 10·r+1, 10·r+2 at layer 3."""
    rows = np.arange(5, dtype=np.float32)[:, None] * 10 + np.arange(3, dtype=np.float32)
    return {
        "resid_post.3": rows,
        "attn_probs.3": np.zeros((5, 2, 7), np.float32),
        "embed": -rows,
        "row_offsets": np.array([0, 2, 5], np.int64),
        "token_ids": np.array([11, 12, 21, 22, 23], np.int64),
        "positions": np.array([0, 1, 0, 1, 2], np.int32),
    }


def tensors_reply(content: bytes) -> httpx.Response:
    """A result in the server's format."""
    headers = {"content-type": "application/vnd.safetensors", "x-request-id": "req_7"}
    return httpx.Response(200, content=content, headers=headers)
