"""Runs in the server's format."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.clients.python.promptatlas.fake_server import STREAMED, Pieces, reply

ID = "run-7k3"
TUNE_SPEC = {"model": "demo", "dataset": "demo-qa", "priors": [{"kind": "isotropic"}]}


def info(**changes: Any) -> dict[str, Any]:
    """A queued run."""
    known = {"id": ID, "kind": "tune", "name": "sweep", "spec": TUNE_SPEC, "status": "queued", "queue_position": 2}
    return {**known, "created_at": "2026-01-02T03:04:05Z", **changes}


def ended(status: str = "succeeded", **changes: Any) -> dict[str, Any]:
    """The same run at its end."""
    known: dict[str, Any] = {"metrics": {"test/exact_match": 0.875}, "prompts": ["qa@1", "qa@2"], "attempts": 1}
    known["artifacts"] = [
        {"path": path, "n_bytes": 3, "sha256": "sha256:" + "ab" * 32} for path in ("spec.json", "draws/qa@1")
    ]
    return info(status=status, queue_position=None, **{**known, **changes})


EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("status", {"status": "running", "progress": {"step": 0, "total": 20, "eta_s": None}}),
    ("metric", {"step": 10, "member": "a", "loss": 2.5, "lr": 0.001}),
    ("metric", {"step": 10, "member": "b", "loss": 1.25, "lr": 0.01}),
    ("log", {"level": "warning", "text": "b: NaN at step 12, rolled back"}),
    ("status", {"status": "running", "progress": {"step": 10, "total": 20, "eta_s": 65.0}}),
    ("done", {"status": "succeeded", "error": None}),
]
POINTS = [
    {"step": 0, "member": "a", "loss": 4.0},
    {"step": 0, "member": "b", "loss": 3.0},
    {"step": 10, "member": "a", "loss": 2.5, "validation_loss": 2.75},
    {"step": 10, "member": "b", "loss": None},
    {"step": 10, "n_tokens": 640},
]


def event_bytes(*events: tuple[str, dict[str, Any]], first: int = 1) -> bytes:
    """Events with their numbers, as the server sends them."""
    lines = [f"id: {first + at}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for at, (kind, data) in enumerate(events)]
    return b": events of a run\n\n" + "".join(lines).encode()


def stream(
    *events: tuple[str, dict[str, Any]], first: int = 1, then: Exception | None = None, cut: int = 0
) -> httpx.Response:
    """An answer with these events; ``cut``: so many bytes of the end are missing; ``then``: how it breaks."""
    content = event_bytes(*events, first=first)
    return httpx.Response(200, stream=Pieces(content[: len(content) - cut], then=then), headers=STREAMED)


def curve() -> httpx.Response:
    """The answer with all points."""
    return reply({"object": "list", "data": POINTS, "has_more": False, "next": None})
