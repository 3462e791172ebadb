"""What pages are loaded from: a service with a map in its store, and a folder with another library's page."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sides.models import LlamaSize, save_llama
from benchmarks.sides.processes import free_port, running
from service.store.artifacts.store import ArtifactStore
from service.store.artifacts.tensor_codec import encode
from service.store.maps.points import Labels, Points
from service.store.maps.store import MAP, MapFacts, points_path
from service.store.runs.store import RunStore

_MODEL = LlamaSize(d_model=32, n_layers=1, n_heads=2, n_kv_heads=1, d_mlp=32, n_vocab=97, n_positions=64)
N_CLOUDS = 8


@contextlib.contextmanager
def served_page(folder: Path) -> Iterator[str]:
    """URL of a service with the store ``folder / "home"`` and a small model; no workers."""
    save_llama(_MODEL, folder / "model")
    port = free_port()
    environ = {
        "PROMPTATLAS_HOST": "127.0.0.1",
        "PROMPTATLAS_PORT": str(port),
        "PROMPTATLAS_HOME": str(folder / "home"),
        "PROMPTATLAS_MODELS": f"benchmark={folder / 'model'}",
        "PROMPTATLAS_WORKERS": "0",
        "PROMPTATLAS_DEVICE": "cpu",
        "PROMPTATLAS_API_KEYS": "",
    }
    url = f"http://127.0.0.1:{port}"
    with running("service", [], environ=environ, ready_url=f"{url}/ready", log=folder / "service.log"):
        yield url


@contextlib.contextmanager
def served_map(folder: Path, n: int) -> Iterator[tuple[str, str]]:
    """URL of a service, and the id of a map of ``n`` points in its store."""
    with served_page(folder) as url:
        yield url, store_map(folder / "home", cloud_points(n))


@contextlib.contextmanager
def served_folder(folder: Path) -> Iterator[str]:
    """URL of a server of the folder's files."""
    handler = partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def store_map(home: Path, points: Points) -> str:
    """Store points as the map of a run; returns its id."""
    runs = RunStore(ArtifactStore(str(home)))
    run = runs.create("map", spec={"model": "benchmark"}, name="clouds")
    writer = runs.claim(run.id, worker="benchmark")
    facts = MapFacts(
        model="benchmark",
        revision="none",
        method="pca",
        n_components=2,
        layers=[0],
        sources=points.texts["source"].values,
        n_points=len(points),
        quality=[],
        added=[],
        max_tokens=64,
    )
    writer.put_output(points_path(0), encode(points.tensors()))
    writer.put_output(MAP, facts.to_bytes())
    writer.finish("succeeded")
    return run.id


def cloud_points(n: int) -> Points:
    """Clouds of tokens in separate texts, as in a map of a dataset's tokens."""
    labels = Labels(layer=0)
    n_each = n // N_CLOUDS
    for cloud in range(N_CLOUDS):
        texts = [
            f"Text {i // 40} of cloud {cloud}, which goes on for a while so that it is as long as texts are."
            for i in range(n_each)
        ]
        tokens = [f" word{i % 997}" for i in range(n_each)]
        labels.add(
            n_each, source=f"cloud {cloud}", role="state", positions=np.arange(n_each) % 40, text=texts, token=tokens
        )
    return labels.points(cloud_places(n_each * N_CLOUDS))


def cloud_places(n: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Normal clouds around random centres, `[n, 2]`."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(N_CLOUDS, 2)) * 4, n // N_CLOUDS, axis=0)
    return (centres + rng.normal(size=(n, 2))).astype(np.float32)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name of the base class)
        """Nothing."""
