"""A client that watches the service while faults are injected: every answer must be right, whole, or a documented refusal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import httpx
from safetensors.numpy import load

from tests.chaos.ledger import Ledger
from tests.chaos.workload import GREEDY

_EVERY_S = 0.25


class Watcher:
    """Asks for completions, and for each prompt and map as soon as it is listed, in a thread of its own.

    Args:
        texts: expected completions by prompt reference; None is the bare model.
        may_disconnect: whether connections may break, because the process at their other end is killed or stopped.
    """

    def __init__(
        self, url: str, *, ledger: Ledger, texts: Mapping[str | None, str], may_disconnect: bool = False
    ) -> None:
        self._ledger = ledger
        self._texts = texts
        self._may_disconnect = may_disconnect
        self._http = httpx.Client(base_url=url, timeout=120)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._seen: set[tuple[str, str]] = set()
        self._failed: set[tuple[str, int]] = set()
        self._n_answers = 0
        self._n_refused = 0

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._http.close()
        self._ledger.checked("answers right or refused with a cause", self._n_answers)
        if kind is None and not self._n_answers:
            self._ledger.lose("the watcher got no answer at all")

    def _watch(self) -> None:
        while not self._stop.is_set():
            for look in (self._complete, self._look_at_prompts, self._look_at_maps):
                self._try(look)
            self._stop.wait(_EVERY_S)

    def _try(self, look: Callable[[], None]) -> None:
        try:
            look()
        except httpx.TransportError as error:
            if not self._may_disconnect:
                self._ledger.lose(f"a connection broke: {type(error).__name__}")
        except Exception as error:
            self._ledger.lose(f"{look.__name__.strip('_')}: {error!r}")

    def _complete(self) -> None:
        for ref, text in self._texts.items():
            answer = self._ask("POST", "/v1/completions", json={**GREEDY, "prompt_ref": ref})
            if answer is not None and (found := answer.json()["choices"][0]["text"]) != text:
                self._ledger.lose(f"a wrong completion with prompt {ref}: {found!r} instead of {text!r}")

    def _look_at_prompts(self) -> None:
        for row in self._rows("/v1/prompts"):
            versions = f"/v1/prompts/{row['name']}/versions"
            self._look_once("prompt", f"{versions}/{row['latest']}", self._check_prompt)

    def _look_at_maps(self) -> None:
        for row in self._rows("/v1/maps"):
            self._look_once("map", f"/v1/maps/{row['id']}", self._check_map)

    def _look_once(self, kind: str, path: str, check: Callable[[str], bool]) -> None:
        if (kind, path) not in self._seen and check(path):
            self._seen.add((kind, path))

    def _check_prompt(self, path: str) -> bool:
        manifest, content = self._ask("GET", path), self._ask("GET", f"{path}/content?format=native")
        if manifest is None or content is None:
            return False
        tensors = load(content.content)
        if not tensors or not manifest.json()["sha256"]:
            self._ledger.lose(f"a partial prompt is visible: {path}")
        return True

    def _check_map(self, path: str) -> bool:
        answer = self._ask("GET", path, headers={"Accept": "application/json"})
        if answer is None:
            return False
        found = answer.json()
        if not len(found["x"]) == len(found["y"]) == len(found["layer"]) == found["n_points"] > 0:
            self._ledger.lose(f"a partial map is visible: {path}")
        return True

    def _rows(self, path: str) -> list[dict[str, Any]]:
        answer = self._ask("GET", path, params={"limit": 100})
        return [] if answer is None else list(answer.json()["data"])

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        """The answer, None if it is refused in the documented way."""
        answer = self._http.request(method, path, **options)
        self._n_answers += 1
        if answer.is_success:
            return answer
        if answer.status_code in (429, 503):
            check_refusal(answer, ledger=self._ledger)
            self._n_refused += 1
            return None
        if (path, answer.status_code) not in self._failed:
            self._failed.add((path, answer.status_code))
            self._ledger.lose(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return None


def check_refusal(answer: httpx.Response, *, ledger: Ledger) -> None:
    """A refusal must say why, and when to come back."""
    content = answer.json()
    cause = content.get("detail") or content.get("error", {}).get("message")
    if not cause or not answer.headers.get("Retry-After", "").isdigit():
        ledger.lose(f"a {answer.status_code} without cause or Retry-After: {answer.text[:200]}")
