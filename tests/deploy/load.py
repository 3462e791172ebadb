"""Clients that send completions one after the other, and compare every answer with an expected text."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

TIMEOUT_S = 120.0
# A proxy that reloads may close a connection in the moment in which a client uses it again.
NO_KEEP_ALIVE = httpx.Limits(max_keepalive_connections=0)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A completion and its expected text."""

    body: Mapping[str, Any]
    text: str


@dataclass(kw_only=True)
class Load:
    """What the clients have seen. n_right: answers with the expected text. failures: all others, in words."""

    n_right: int = 0
    failures: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, failure: str | None) -> None:
        """Count one answer."""
        with self._lock:
            if failure is None:
                self.n_right += 1
            else:
                self.failures.append(failure)


@contextlib.contextmanager
def clients(url: str, *, questions: list[Question], n: int) -> Iterator[Load]:
    """``n`` clients until the end of the block; every second request of each is streamed."""
    load, stop = Load(), threading.Event()
    threads = [
        threading.Thread(
            target=_send, args=(url,), kwargs={"questions": questions, "load": load, "stop": stop, "first": i}
        )
        for i in range(n)
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _send(url: str, *, questions: list[Question], load: Load, stop: threading.Event, first: int) -> None:
    with httpx.Client(base_url=url, timeout=TIMEOUT_S, limits=NO_KEEP_ALIVE) as http:
        i = first
        while not stop.is_set():
            question = questions[i % len(questions)]
            try:
                found = _streamed(http, question.body) if (i - first) % 2 else _whole(http, question.body)
                load.add(None if found == question.text else f"expected {question.text!r}, got {found!r}")
            except (httpx.HTTPError, ValueError, KeyError) as error:
                load.add(f"{type(error).__name__}: {error}")
            i += 1


def _whole(http: httpx.Client, body: Mapping[str, Any]) -> str:
    answer = http.post("/v1/completions", json=dict(body))
    if answer.status_code != 200:
        return f"status {answer.status_code}: {answer.text}"
    return str(answer.json()["choices"][0]["text"])


def _streamed(http: httpx.Client, body: Mapping[str, Any]) -> str:
    """The text of a stream; of one without its last line, what is missing."""
    text, is_complete = "", False
    with http.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
        if answer.status_code != 200:
            return f"status {answer.status_code}: {answer.read().decode()}"
        for line in answer.iter_lines():
            data = line.removeprefix("data: ")
            if data == "[DONE]":
                is_complete = True
            elif line.startswith("data: "):
                text += "".join(choice["text"] for choice in json.loads(data)["choices"])
    return text if is_complete else f"a stream without its end after {text!r}"
