"""The work under test: a small model, datasets, prompts, a run of each kind, and what results must have in common."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from promptatlas.types import RUN_KINDS, RunKind
from safetensors.numpy import save

from tests.chaos.processes import Broken
from tests.integration.tiny_model import D_HEAD, D_MODEL, N_KV_HEADS, N_LAYERS

MODEL = "tiny"
GREEDY: Mapping[str, Any] = {"model": MODEL, "prompt": "one and two are", "max_tokens": 24, "temperature": 0}
KINDS: tuple[RunKind, ...] = tuple(RUN_KINDS)

PROMPTS = ("soft", "deep", "prefix", "steering")
"""Names of the prompts that ``prepare_store`` uploads."""

_RUN_ID = re.compile(rb"run-[0-9a-z]{17,19}")
_CREATED = re.compile(rb'"created": ?[0-9]+')
_SHARD_HASH = re.compile(rb'"sha256": ?"[0-9a-f]{64}"')


def spec_of(kind: RunKind, *, name: str) -> dict[str, Any]:
    """The spec of a run of some seconds that passes many checkpoints. name: of the prompts or dataset it makes, unique."""
    prior = {"kind": "vae", "fit": {"embeddings": "vocabulary"}, "epochs": 600, "d_hidden": 64, "d_latent": 8}
    specs: dict[RunKind, dict[str, Any]] = {
        "tune": {
            "dataset": "sums",
            "method": {"kind": "soft", "n_virtual": 2},
            "priors": [{"kind": "isotropic"}, {"kind": "vocabulary"}],
            "optimizer": {"steps": 240, "batch_size": 4, "lr": 0.01},
            "eval": {"every": 20, "n": 12, "metrics": ["exact_match", "loss"], "samples": 100},
            "checkpoint_every": 6,
            "name": name,
        },
        "distill": {
            "dataset": "sums",
            "teacher": {"prompt_ref": "soft"},
            "loss": [{"kind": "kl", "top_k": 8}],
            "on_policy": 0.25,
            "method": {"kind": "soft", "n_virtual": 2},
            "priors": [{"kind": "isotropic"}],
            "optimizer": {"steps": 120, "batch_size": 4, "lr": 0.01},
            "eval": {"every": 20, "n": 12, "metrics": ["exact_match", "loss"], "samples": 100, "max_tokens": 8},
            "checkpoint_every": 6,
            "name": name,
        },
        "evaluate": {
            "dataset": "sums",
            "prompts": [None, *PROMPTS],
            "metrics": ["exact_match", "loss"],
            "samples": 100,
        },
        "generate": {
            "dataset": "sums",
            "prompt_refs": [None, "soft"],
            "n": 2,
            "max_tokens": 12,
            "logprobs": 4,
            "shard_samples": 96,
            "reuse": False,
            "name": name,
        },
        "batch": {"input_file_id": "file-0", "endpoint": "/v1/completions", "shard_requests": 50},
        "harvest": {"dataset": "words", "sites": ["resid_post"], "prompt_ref": "soft", "shard_bytes": 49152},
        "map": {
            "method": "pca",
            "layers": [0, 1, 2],
            "sources": [
                {"dataset": "words", "n": 60, "per": "token"},
                {"prompts": ["deep"]},
                {"embeddings": "vocabulary"},
            ],
        },
        "report": {"datasets": ["sums", "words"], "prompts": ["soft"], "n": 20, "n_trajectories": 4, "samples": 199},
        "sample": {"prior": prior, "n": 50},
    }
    return {"model": MODEL, **specs[kind]}


def prepare_store(http: httpx.Client) -> None:
    """Upload the datasets and prompts that the runs read."""
    records = [{"input": f"{n}+{n + 3}=", "target": str(2 * n + 3), "split": _split(n)} for n in range(600)]
    texts = [{"text": f"{word} after {word[::-1]} and number {n} of many words"} for n, word in enumerate(_words(160))]
    for name, lines in (("sums", records), ("words", [{**text, "split": _split(n)} for n, text in enumerate(texts)])):
        content = "".join(json.dumps(line) + "\n" for line in lines)
        headers = {"Content-Type": "application/jsonl"}
        _require(http.post("/v1/datasets", params={"name": name, "format": "jsonl"}, content=content, headers=headers))
    upload(http, "soft", {"soft": vectors(1, 3)})
    upload(http, "deep", {f"deep.{layer}": vectors(layer, 2) for layer in range(1, N_LAYERS)}, where="local")
    heads = np.random.default_rng(5).normal(size=(N_LAYERS, 2, N_KV_HEADS, 2, D_HEAD)).astype(np.float32)
    upload(http, "prefix", {"prefix": heads})
    upload(http, "steering", {"steering.1": vectors(7, 1)[0]})


def upload(http: httpx.Client, name: str, tensors: Mapping[str, Any], **metadata: str) -> None:
    """Store a prompt in the native format."""
    kind = next(iter(tensors)).partition(".")[0]
    about = {"promptatlas": json.dumps({"kind": kind, "base": MODEL, **metadata})}
    headers = {"Content-Type": "application/vnd.safetensors"}
    _require(http.post("/v1/prompts", params={"name": name}, content=save(dict(tensors), about), headers=headers))


def vectors(seed: int, n: int) -> Any:
    """Random vectors `[n, d_model]`."""
    return np.random.default_rng(seed).normal(size=(n, D_MODEL)).astype(np.float32)


def complete(http: httpx.Client, *, prompt_ref: str | None = None, **fields: Any) -> str:
    """The text of a greedy completion."""
    answer = http.post("/v1/completions", json={**GREEDY, "prompt_ref": prompt_ref, **fields})
    return str(_require(answer).json()["choices"][0]["text"])


def submit(http: httpx.Client, kind: RunKind, *, name: str) -> str:
    """Start a run; returns its id."""
    spec = spec_of(kind, name=name)
    if kind == "batch":
        spec["input_file_id"] = _upload_requests(http)
    if kind == "sample":
        return str(_require(http.post("/v1/priors/sample", json=spec)).json()["id"])
    return str(_require(http.post("/v1/runs", json={"kind": kind, "spec": spec})).json()["id"])


def fingerprint(http: httpx.Client, run_id: str, *, name: str) -> dict[str, str]:
    """Hashes of everything that a succeeded run has made, without the run's id, its name and times.

    Files for TensorBoard are left out: every record in them has the time at which it was written.
    """
    run = _require(http.get(f"/v1/runs/{run_id}")).json()
    if run["status"] != "succeeded":
        raise Broken(f"{run['kind']} run {run_id} is {run['status']}: {run['error']}")
    parts = {"metrics": json.dumps(_timeless(run), sort_keys=True).encode()}
    for artifact in run["artifacts"]:
        if not artifact["path"].startswith("tensorboard/"):
            path = artifact["path"].replace(name, "NAME")
            parts[path] = _require(http.get(f"/v1/runs/{run_id}/artifacts/{artifact['path']}")).content
    if run["kind"] == "harvest":
        # The shards, compared above, have the run's id in their headers, so their own hashes differ.
        parts["manifest.json"] = _SHARD_HASH.sub(b"HASH", parts["manifest.json"])
    for ref in run["prompts"]:
        manifest = _require(http.get(f"/v1/prompts/{ref.replace('@', '/versions/')}")).json()
        parts[f"prompt {ref.replace(name, 'NAME')}"] = manifest["sha256"].encode()
    if run["kind"] == "batch":
        output = f"/v1/files/file-{run_id.removeprefix('run-')}-output/content"
        parts["output"] = _require(http.get(output)).content
    if run["kind"] == "generate":
        parts["dataset"] = _require(http.get(f"/v1/datasets/{name}", params={"limit": 1})).json()["sha256"].encode()
    if run["kind"] == "map":
        parts["points"] = _require(http.get(f"/v1/maps/{run_id}", headers={"Accept": "application/json"})).content
    return {path: _hash(data, run=run, name=name) for path, data in parts.items()}


def checkpoints_of(home: Path, run_id: str) -> frozenset[tuple[str, int]]:
    """What a run has saved so far in a local store: each checkpoint, and each shard of a harvest, of samples or of a batch."""
    found: set[tuple[str, int]] = set()
    folder = home / "runs" / run_id
    patterns = ("checkpoints/*", "outputs/shards*", "outputs/traces*", "outputs/results*")
    for manifest in (path for pattern in patterns for path in folder.glob(f"{pattern}/manifest.json")):
        with contextlib.suppress(OSError):
            found.add((str(manifest), manifest.stat().st_mtime_ns))
    return frozenset(found)


def _timeless(run: Mapping[str, Any]) -> dict[str, Any]:
    changing = ("n_shards_by_helpers",)
    return {key: value for key, value in run["metrics"].items() if key not in changing and not key.endswith("_s")}


def _hash(data: bytes, *, run: Mapping[str, Any], name: str) -> str:
    data = data.replace(name.encode(), b"NAME")
    for time in (run["created_at"], run["started_at"], run["ended_at"]):
        data = data.replace(str(time).encode(), b"TIME")
    if run["kind"] == "batch":
        # Responses have ids and times that follow from the run's id.
        data = _CREATED.sub(b'"created": TIME', data.replace(run["id"].removeprefix("run-").encode(), b"RUN"))
    return hashlib.sha256(_RUN_ID.sub(b"RUN", data)).hexdigest()


def _upload_requests(http: httpx.Client) -> str:
    """An input file for a batch; its id."""
    rows = [
        {
            "custom_id": str(n),
            "method": "POST",
            "url": "/v1/completions",
            "body": {"model": MODEL, "prompt": f"{n}+{n + 3}=", "max_tokens": 12, "temperature": 0, "prompt_ref": ref},
        }
        for n, ref in enumerate((None, *PROMPTS) * 200)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    answer = http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("requests.jsonl", lines)})
    return str(_require(answer).json()["id"])


def _split(n: int) -> str:
    return "validation" if n % 5 == 3 else "test" if n % 5 == 4 else "train"


def _words(n: int) -> list[str]:
    letters = "etaoinshrdlu"
    return ["".join(letters[(n * k + k * k) % 12] for k in range(3, 9)) for n in range(n)]


def _require(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        raise Broken(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:300]}")
    return answer
