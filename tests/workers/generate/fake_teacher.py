"""A fake teacher: an HTTP server on the loopback that answers as OpenAI's API does, or misbehaves as it is instructed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Misbehave = Callable[["FakeTeacher", BaseHTTPRequestHandler, int], bool]
"""``(teacher, request, number of the request) -> whether it was answered``; the number counts from 0."""


@dataclass
class FakeTeacher:
    """requests: bodies, in the order of their arrival. most_at_once: largest number of requests that were open together."""

    misbehave: Misbehave = lambda teacher, request, number: False
    gives_logprobs: bool = True
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    n_open: int = 0
    most_at_once: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def text_of(self, body: dict[str, Any]) -> str:
        """The text of a completion: it depends on the input and the seed."""
        read = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        return f" of {len(read.split())} words; {body['seed'] % 7}"

    def answer(self, body: dict[str, Any], *, is_chat: bool) -> dict[str, Any]:
        text = self.text_of(body)
        words = text.split(" ")[1:]
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice |= {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        if body.get("logprobs") is not None and self.gives_logprobs:
            choice["logprobs"] = _chat_logprobs(words, body) if is_chat else _logprobs(words, body)
        usage = {"prompt_tokens": 10, "completion_tokens": len(words), "total_tokens": 10 + len(words)}
        return {"model": "big-1", "system_fingerprint": "fp-7", "choices": [choice], "usage": usage}


def _logprobs(words: list[str], body: dict[str, Any]) -> dict[str, Any]:
    tops = [{f"w{j}": -0.5 - j for j in reversed(range(body["logprobs"]))} for _ in words]
    return {"tokens": words, "token_logprobs": [-0.25 * i for i, _ in enumerate(words)], "top_logprobs": tops}


def _chat_logprobs(words: list[str], body: dict[str, Any]) -> dict[str, Any]:
    top = [{"token": f"w{j}", "logprob": -0.5 - j, "bytes": None} for j in range(body["top_logprobs"])]
    return {
        "content": [
            {"token": word, "logprob": -0.25 * i, "bytes": None, "top_logprobs": top} for i, word in enumerate(words)
        ]
    }


def send(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> bool:
    """Answer a request."""
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)
    return True


@contextmanager
def running_teacher(**fields: Any) -> Iterator[FakeTeacher]:
    """A teacher on a free port."""
    teacher = FakeTeacher(**fields)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with teacher.lock:
                number = len(teacher.requests)
                teacher.requests.append(body)
                teacher.paths.append(self.path)
                teacher.keys.append(self.headers.get("Authorization"))
                teacher.n_open += 1
                teacher.most_at_once = max(teacher.most_at_once, teacher.n_open)
            try:
                if not teacher.misbehave(teacher, self, number):
                    is_chat = self.path.endswith("/chat/completions")
                    send(self, 200, json.dumps(teacher.answer(body, is_chat=is_chat)).encode())
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                with teacher.lock:
                    teacher.n_open -= 1

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in the base class)
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients may leave at any time."""

    server = Server(("127.0.0.1", 0), Handler)
    teacher.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield teacher
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
