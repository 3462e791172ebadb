"""Maps and reports in the server's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np

from tests.clients.python.promptatlas.fake_server import reply, tensor_bytes, tensors_reply

ID = "run-9m2"
NONE = -(2**31)
SPEC: dict[str, Any] = {"model": "demo", "layers": [0, 3], "sources": [{"dataset": "demo-qa"}, {"prompts": ["qa@1"]}]}
ROW: dict[str, Any] = {
    "id": ID,
    "name": "atlas",
    "model": "demo",
    "method": "pca",
    "layers": [0, 3],
    "sources": ["questions", "tuned"],
    "n_points": 10,
    "created_at": "2026-01-02T03:04:05Z",
}
QUALITY = [
    {"layer": 0, "n_points": 5, "explained_variance": [0.5, 0.25], "trustworthiness": 0.875},
    {"layer": 3, "n_points": 5, "explained_variance": [0.125, 0.0625]},
]
INFO = {**ROW, "revision": "ab" * 32, "quality": QUALITY, "spec": SPEC}
# At each layer two texts, one of them a token's, and the trajectory of a vector through three points.
TEXTS: dict[str, list[str | None]] = {
    "source": ["questions", "questions", "tuned", "tuned", "tuned"],
    "role": ["state", "state", "draw", "snapshot", "posterior"],
    "text": ["Wo ist <Ana>?", "Ü", None, None, None],
    "token": [None, " Ü", None, None, None],
    "group": [None, None, "qa@1 0", "qa@1 0", "qa@1 0"],
    "task": ["where", None, None, None, None],
    "prompt": [None, "qa@1", "qa@1", "qa@1", "qa@1"],
}
POSITIONS = [NONE, 4, -1, 20, -1]
X = [0.0, 1.0, 2.0, 3.0, 4.0, 10.0, 11.0, 12.0, 13.0, 14.0]


def text_tensors(name: str, texts: list[str | None]) -> dict[str, Any]:
    """A column of texts as three tensors."""
    values = list(dict.fromkeys(text for text in texts if text is not None))
    encoded = [value.encode() for value in values]
    return {
        name: np.array([-1 if text is None else values.index(text) for text in texts], np.int32),
        f"{name}.bytes": np.frombuffer(b"".join(encoded), np.uint8),
        f"{name}.offsets": np.cumsum([0, *map(len, encoded)], dtype=np.int64),
    }


def map_tensors(*, layers: tuple[int, ...] = (0, 3), n_axes: int = 2) -> dict[str, Any]:
    """The columns of ten points, or of those of one layer."""
    x = np.array([value for at, value in enumerate(X) if (0, 3)[at // 5] in layers], np.float32)
    tensors: dict[str, Any] = dict(zip("xyz"[:n_axes], (x, -x, 2 * x), strict=False))
    tensors["layer"] = np.repeat(np.array(layers, np.int32), 5)
    tensors["position"] = np.array(POSITIONS * len(layers), np.int32)
    for name, texts in TEXTS.items():
        tensors |= text_tensors(name, texts * len(layers))
    return tensors


def map_reply(changes: Mapping[str, Any] | None = None, *, n_axes: int = 2) -> httpx.Response:
    """A map with its points; changes: other tensors in place of its own."""
    return tensors_reply(tensor_bytes({**map_tensors(n_axes=n_axes), **(changes or {})}, metadata=INFO))


def placed_reply() -> httpx.Response:
    """The response to the projection of two vectors."""
    tensors: dict[str, Any] = {"x": np.array([0.5, 10.5], np.float32), "y": np.array([-0.5, -10.5], np.float32)}
    tensors |= {"layer": np.array([0, 3], np.int32), "position": np.array([NONE, NONE], np.int32)}
    for name in TEXTS:
        value = {"source": "vectors", "role": "placed"}.get(name)
        tensors |= text_tensors(name, [value, value])
    return tensors_reply(tensor_bytes(tensors, metadata={"map": ID}))


def neighbors_reply() -> httpx.Response:
    """The response to a search of the neighbours of the second point of layer 3."""
    columns = {name: texts[2:4] for name, texts in TEXTS.items()}
    places = {"x": [12.0, 13.0], "y": [-12.0, -13.0], "layer": [3, 3], "position": [-1, 20]}
    facts = {"map": ID, "point": 1, "metric": "cosine", "index": [2, 3], "distance": [0.125, 0.5]}
    return reply({**columns, **places, **facts})


REPORT: dict[str, Any] = {
    "title": "Where they lie",
    "model": "demo",
    "revision": "ab" * 32,
    "findings": [
        {
            "number": 1,
            "title": "Vectors stay",
            "verdict": "confirmed",
            "rule": "share > 0.5",
            "numbers": {"share": {"value": 0.75, "low": 0.5}},
        },
        {
            "number": 5,
            "title": "Tasks <part>",
            "verdict": "not measured",
            "rule": "p < 0.05",
            "missing": "a second task",
        },
    ],
    "collapse": {"qa@1": {"norm_ratio": 1.5, "prior": "isotropic"}, "qa@2": {"norm_ratio": 2.5, "prior": "vocabulary"}},
    "separation": [{"layer": 2, "measure": "silhouette", "value": 0.25, "p_value": 0.001}],
    "trajectories": [{"layer": 2, "step": {"mean": 1.5}}],
    "shape": [{"layer": 2, "kurtosis": 3.5}],
    "spec": {"model": "demo", "datasets": ["demo-qa"]},
    "versions": {"promptatlas": "0.1.0"},
}
PAGE = "<!doctype html><title>Wo sie liegen – ü</title>"
