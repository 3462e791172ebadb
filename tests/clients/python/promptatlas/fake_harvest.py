"""A harvest as a server has it: two shards of three texts, seven tokens; and its means, and the same in Parquet.

Row r has 10·r, 10·r+1, 10·r+2 at layer 3.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import httpx
import numpy as np
import safetensors.numpy
from promptatlas import Client

from tests.clients.python.promptatlas.fake_runs import ID, ended
from tests.clients.python.promptatlas.fake_server import reply, tensor_bytes

TEXTS = ["alpha beta", "gamma", "alpha beta delta"]
TASKS = ["a", None, "b"]
TOKENS = [["<s>", " alpha", " beta"], [" gamma"], ["<s>", " alpha", " beta"]]
OWNERS = [0, 0, 0, 1, 2, 2, 2]
SHARDS = [slice(0, 4), slice(4, 7)]


def states() -> np.ndarray:
    """`[7, 3]`."""
    return np.arange(7, dtype=np.float32)[:, None] * 10 + np.arange(3, dtype=np.float32)


def columns() -> dict[str, list[Any]]:
    """Columns that describe each row."""
    return {
        "text_index": OWNERS,
        "record": [10 + 2 * i for i in OWNERS],
        "split": ["train", "train", "train", "test", "train", "train", "train"],
        "task": [TASKS[i] for i in OWNERS],
        "text": [TEXTS[i] for i in OWNERS],
        "position": [0, 1, 2, 0, 0, 1, 2],
        "token_id": [1, 5, 6, 7, 1, 5, 6],
        "added": [True, False, False, False, True, False, False],
        "token": [token for tokens in TOKENS for token in tokens],
    }


def safetensors_shard(rows: slice, *, bf16: bool = False) -> bytes:
    tensors: dict[str, Any] = {"resid_post.3": states()[rows], "norm": states()[rows, 0].copy()}
    types = {"position": np.int32, "added": np.bool_}
    for name, values in columns().items():
        if name in ("split", "task", "text", "token"):
            tensors |= text_tensors(name, values[rows])
        else:
            tensors[name] = np.array(values[rows], types.get(name, np.int64))
    if bf16:
        half = {"resid_post.3": tensors.pop("resid_post.3")}
        return tensor_bytes(tensors, bf16=half)
    return safetensors.numpy.save(tensors, metadata={"promptatlas": json.dumps({"model": "demo"})})


def text_tensors(name: str, values: list[str | None]) -> dict[str, Any]:
    """A column of texts, see ``promptatlas.results.tensors.text_columns``."""
    distinct = list(dict.fromkeys(value for value in values if value is not None))
    encoded = [value.encode() for value in distinct]
    codes = [-1 if value is None else distinct.index(value) for value in values]
    return {
        name: np.array(codes, np.int32),
        f"{name}.bytes": np.frombuffer(b"".join(encoded), np.uint8),
        f"{name}.offsets": np.cumsum([0, *map(len, encoded)], dtype=np.int64),
    }


def parquet_shard(rows: slice) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {name: pa.array(values[rows]) for name, values in columns().items()}
    table["task"] = table["task"].dictionary_encode()
    table["resid_post.3"] = pa.FixedSizeListArray.from_arrays(pa.array(states()[rows].ravel()), 3)
    table["norm"] = pa.array(states()[rows, 0])
    stream = io.BytesIO()
    pq.write_table(pa.table(table), stream)
    return stream.getvalue()


class FakeHarvest:
    """Answers for one run of kind ``harvest`` that has ended; counts what was fetched. kind: ``bfloat16`` is safetensors."""

    def __init__(self, kind: str = "safetensors") -> None:
        self.format = "parquet" if kind == "parquet" else "safetensors"
        make = parquet_shard if kind == "parquet" else lambda rows: safetensors_shard(rows, bf16=kind == "bfloat16")
        self.files = {f"shards/{i:05d}.{self.format}": make(rows) for i, rows in enumerate(SHARDS)}
        self.files["manifest.json"] = json.dumps(self.manifest()).encode()
        self.fetched: list[str] = []

    def manifest(self) -> dict[str, Any]:
        firsts, n_texts, n_rows = (0, 2), (2, 1), (4, 3)
        shards = [
            {
                "path": path,
                "first_text": firsts[i],
                "n_texts": n_texts[i],
                "n_rows": n_rows[i],
                "n_bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            for i, (path, content) in enumerate(self.files.items())
        ]
        return {
            "run_id": ID,
            "model": "demo",
            "revision": "ab",
            "prompt": None,
            "dataset": "demo-text",
            "dataset_sha256": "sha256:cd",
            "split": None,
            "sites": ["resid_post"],
            "layers": [3],
            "positions": "all",
            "reduce": None,
            "dtype": "float32",
            "format": self.format,
            "rows": "token",
            "tensors": {"resid_post.3": [3], "norm": []},
            "n_texts": 3,
            "n_tokens": 7,
            "n_rows": 7,
            "shards": shards,
        }

    def run(self, **changes: Any) -> dict[str, Any]:
        """The run in the server's format."""
        listed = [{"path": path, "n_bytes": len(data), "sha256": "ab"} for path, data in self.files.items()]
        return ended(kind="harvest", artifacts=listed, prompts=[], metrics={"n_rows": 7.0}, **changes)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        _, _, path = request.url.path.partition("/artifacts/")
        if not path:
            return reply(self.run())
        self.fetched.append(path)
        return httpx.Response(200, content=self.files[path])


def client_of(fake: FakeHarvest) -> Client:
    """A client of a server that has this harvest."""
    return Client(transport=httpx.MockTransport(fake), progress=False, environ={})
