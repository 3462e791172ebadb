"""A large response over HTTP: activations with many bytes and little compute, against a file of the same size."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import safetensors.torch

from benchmarks.measuring.agreement import states_agree
from benchmarks.measuring.contest import Agreement, Contest, Metrics, Side, amount, speedup
from benchmarks.sides.download import Body, Download
from benchmarks.sides.models import LlamaSize
from benchmarks.sides.processes import forget_peak, free_port, resident_bytes, running
from benchmarks.sides.service import activations_body, serving
from benchmarks.sides.workload import random_texts
from service.engine.requests import CaptureSpec

SPEC = CaptureSpec(sites=("embed",))
MEGABYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Size:
    """A wide model with one layer: its embeddings have many bytes per token and need little compute."""

    model: LlamaSize
    n_texts: int = 96
    n_tokens: int = 128

    @property
    def n_bytes(self) -> int:
        return self.n_texts * self.n_tokens * self.model.d_model * 4


_WIDE = LlamaSize(d_model=4096, n_layers=1, n_heads=4, n_kv_heads=2, d_mlp=64, n_vocab=512, d_head=16)
FULL = Size(model=_WIDE)
QUICK = Size(model=_WIDE, n_texts=16)


@dataclass(frozen=True, kw_only=True)
class Received:
    """A response, and the peak memory of the API process above its memory before the first request."""

    n_bytes: int
    held_bytes: int

    def metrics(self) -> Metrics:
        """Megabytes."""
        return {"MB": self.n_bytes / 1e6, "held_MiB": self.held_bytes / MEGABYTE}


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both servers; needs HTTP.

    Raises:
        ValueError: without ``http``.
    """
    if not http:
        raise ValueError("transfer is about HTTP, and cannot be run without it.")
    texts = random_texts(
        size.n_texts, shortest=size.n_tokens, longest=size.n_tokens, n_vocab=size.model.n_vocab, seed=9
    )
    body = activations_body(texts, spec=SPEC)
    with contextlib.ExitStack() as stack:
        ours = Download(urlsplit(stack.enter_context(serving(size.model))).port or 0)
        stack.callback(ours.close)
        pid = ours.server_pid()
        idle_bytes, _ = resident_bytes(pid)
        theirs = Download(stack.enter_context(_file_server(ours.post("/v1/activations", body, keep=True))))
        stack.callback(theirs.close)
        yield Contest(
            name="transfer",
            work=_describe(size),
            sides=[
                Side(
                    name="HTTP", run=lambda: _measured(pid, ours, body, idle_bytes=idle_bytes), metrics=Received.metrics
                ),
                Side(name="FileResponse", run=lambda: theirs.get("/file")),
            ],
            goals=[
                speedup("HTTP", "FileResponse", at_least=0.6),
                amount("held_MiB", "HTTP", label="memory the API process holds more", unit="MiB", at_most=64),
            ],
            compare=lambda _: _compare(ours.post("/v1/activations", body, keep=True), theirs.get("/file", keep=True)),
            notes=["The whole request is timed: parsing, forward, serialization and sending."],
        )


def _measured(pid: int, ours: Download, body: object, *, idle_bytes: int) -> Received:
    forget_peak(pid)
    got = ours.post("/v1/activations", body)
    _, peak = resident_bytes(pid)
    return Received(n_bytes=got.n_bytes, held_bytes=max(0, peak - idle_bytes))


@contextlib.contextmanager
def _file_server(body: Body) -> Iterator[int]:
    """A file server for these bytes, from a memory filesystem if there is one; yields its port."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=memory if memory.is_dir() else None) as name:
        folder, port = Path(name), free_port()
        (folder / "body.safetensors").write_bytes(body.data or b"")
        arguments: Sequence[str] = [str(folder / "body.safetensors"), str(port)]
        ready_url, log = f"http://127.0.0.1:{port}/ready", folder / "server.log"
        with running("benchmarks.sides.file_server", arguments, environ={}, ready_url=ready_url, log=log):
            yield port


def _compare(ours: Body, theirs: Body) -> list[Agreement]:
    got, expected = (safetensors.torch.load(body.data or b"") for body in (ours, theirs))
    return [
        states_agree(f"{name}, HTTP against the file", got[name], expected[name], tolerance=0.0) for name in expected
    ]


def _describe(size: Size) -> str:
    return (
        f"{size.n_bytes / 1e6:.0f} MB of activations (site embed of {size.n_texts} texts of {size.n_tokens} tokens, hidden "
        f"{size.model.d_model}) in one answer, against uvicorn serving the same bytes by Starlette's FileResponse; one client, "
        "one connection."
    )
