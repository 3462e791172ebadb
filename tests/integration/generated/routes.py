"""Strategies for the routes that run no model: lists, records, uploads and runs, with names that exist and names that do not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.integration.generated.world import GeneratedWorld

TENSORS_TYPE = "application/vnd.safetensors"

_NAMES = ["bytes-soft", "fallback-prefix", "sums", "no-such-name", "UPPER", "a" * 65, "x%2Fy", "ü"]
_VERSIONS = ["1", "2", "0", "-1", "newest", "9" * 12]
_MODELS = ["bytes", "unigram", "bytes:bytes-soft", "bytes:no-such", "nothing"]
_IDS = ["run-0", "run-1k10t9g4v3edf5mv8", "..", "x" * 300]

_GETS = (
    "/health",
    "/ready",
    "/metrics",
    "/v1/capabilities",
    "/openapi.json",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/prompts",
    "/v1/prompts/{name}",
    "/v1/prompts/{name}/versions",
    "/v1/prompts/{name}/versions/{version}",
    "/v1/prompts/{name}/versions/{version}/content",
    "/v1/prompts/{name}/versions/{version}/nearest",
    "/v1/datasets",
    "/v1/datasets/{name}",
    "/v1/runs",
    "/v1/runs/{id}",
    "/v1/runs/{id}/events",
    "/v1/runs/{id}/metrics",
    "/v1/runs/{id}/artifacts",
    "/v1/runs/{id}/artifacts/report.html",
    "/v1/files",
    "/v1/files/{id}",
    "/v1/files/{id}/content",
    "/v1/batches",
    "/v1/batches/{id}",
    "/v1/maps",
    "/v1/maps/{id}",
    "/v1/maps/{id}/neighbors",
    "/v1/nowhere",
)
_QUERIES: Mapping[str, list[str]] = {
    "limit": ["1", "100", "0", "many", "-3"],
    "after": ["bytes-soft", "x", "run-1k10t9g4v3edf5mv8", ""],
    "format": ["native", "peft", "pickle"],
    "split": ["train", "test", "holdout"],
    "kind": ["tune", "knit"],
    "status": ["queued", "lost"],
    "tag": ["live", "two words", ""],
    "layer": ["0", "99", "top"],
    "k": ["1", "3", "0", "1000"],
    "point": ["0", "-1", "x"],
    "input": ["{input}!", "{nothing}", "{"],
    "never_heard_of": ["1"],
}


@dataclass(frozen=True)
class Call:
    """A request without a model. options: for the client."""

    method: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)


@st.composite
def reads(draw: st.DrawFn, world: GeneratedWorld) -> Call:
    """GETs and DELETEs."""
    path = draw(st.sampled_from(_GETS))
    run_ids = [*_IDS, *world.run_ids]
    values = {"model": _MODELS, "name": _NAMES, "version": _VERSIONS, "id": run_ids}
    found = path.format(**{name: draw(st.sampled_from(given)) for name, given in values.items()})
    names = draw(st.lists(st.sampled_from(sorted(_QUERIES)), max_size=2, unique=True))
    query = {name: draw(st.sampled_from(_QUERIES[name])) for name in names}
    if path.endswith("/events") and found.split("/")[3] in world.run_ids:
        # The events of a queued run are a stream without end.
        found = found.replace("/events", "/metrics")
    return Call("GET", found, {"params": query})


@st.composite
def writes(draw: st.DrawFn, world: GeneratedWorld) -> Call:
    """Uploads, aliases, deletions of what does not exist, and changes of runs."""
    run_ids = [*_IDS, *world.run_ids]
    prompt = draw(st.sampled_from(["bytes-soft", "fallback-local", "nothing", "UPPER"]))
    alias = draw(st.sampled_from(["live", "7", "a.b", "A", "x" * 70]))
    version = draw(st.sampled_from([1, 2, 0, -1, "1", None, 10**12]))
    run_id, action = draw(st.sampled_from(run_ids)), draw(st.sampled_from(["cancel", "resume", "nothing"]))
    model = draw(st.sampled_from([*_MODELS, None, 3]))
    simple = [
        Call("PUT", f"/v1/prompts/{prompt}/aliases/{alias}", {"json": {"version": version}}),
        Call("DELETE", f"/v1/prompts/{prompt}/aliases/{alias}"),
        Call("DELETE", f"/v1/prompts/never-stored/versions/{version}"),
        Call("DELETE", "/v1/datasets/never-stored"),
        Call("DELETE", f"/v1/files/{draw(st.sampled_from(_IDS))}"),
        Call("POST", f"/v1/batches/{draw(st.sampled_from(_IDS))}/cancel"),
        Call("POST", "/v1/batches", {"json": {"input_file_id": draw(st.sampled_from(["file-0", "x", 3]))}}),
        Call("DELETE", f"/v1/maps/{draw(st.sampled_from(_IDS))}"),
        Call("POST", f"/v1/runs/{run_id}/{action}"),
        Call("PATCH", f"/v1/runs/{run_id}", {"json": {"notes": draw(st.text(max_size=9)), "tags": [alias]}}),
        Call("POST", f"/v1/maps/{draw(st.sampled_from(_IDS))}/project", {"json": {"sources": []}}),
        Call("POST", "/tokenize", {"json": {"model": model, "prompt": draw(st.text(max_size=8))}}),
        Call(
            "POST",
            "/detokenize",
            {"json": {"model": model, "tokens": draw(st.lists(st.integers(-1, 400), max_size=5))}},
        ),
        Call("PATCH", "/v1/prompts"),
    ]
    return draw(st.sampled_from(simple) | _prompt_uploads() | _dataset_uploads())


@st.composite
def runs(draw: st.DrawFn) -> Call:
    """Runs of every kind, of which one field may be wrong."""
    kind = draw(st.sampled_from(sorted(_SPECS)))
    spec = {"model": "bytes", **_SPECS[kind]}
    for wrong in draw(st.lists(st.sampled_from(sorted(_WRONG_SPECS)), max_size=1)):
        spec = {**spec, wrong: draw(st.sampled_from(_WRONG_SPECS[wrong]))}
    if kind == "sample":
        return Call("POST", "/v1/priors/sample", {"json": spec})
    name: Any = draw(st.sampled_from([None, "a run", "", 3, "x" * 201]))
    body = {"kind": kind, "spec": spec}
    return Call("POST", "/v1/runs", {"json": body if name is None else {**body, "name": name}})


_SPECS: Mapping[str, dict[str, Any]] = {
    "tune": {"dataset": "sums", "priors": [{"kind": "xavier"}, {"kind": "vocabulary"}], "optimizer": {"steps": 3}},
    "evaluate": {"dataset": "sums", "prompts": [None, "bytes-soft"]},
    "distill": {
        "dataset": "sums",
        "teacher": {"prompt_ref": "bytes-soft"},
        "loss": [{"kind": "kl", "top_k": 4}],
        "priors": [{"kind": "isotropic"}],
        "optimizer": {"steps": 2},
    },
    "generate": {"dataset": "sums", "name": "made", "prompt_refs": [None, "bytes-soft"], "n": 2, "max_tokens": 4},
    "batch": {"input_file_id": "file-0", "endpoint": "/v1/completions"},
    "harvest": {"dataset": "sums", "sites": ["resid_post"], "prompt_ref": "bytes-prefix"},
    "map": {"sources": [{"prompts": ["bytes-local"]}, {"dataset": "sums"}], "layers": [0, -1]},
    "report": {"datasets": ["sums"], "prompts": ["bytes-soft@1"]},
    "sample": {"prior": {"kind": "gaussian", "fit": {"embeddings": "vocabulary"}}},
}
_WRONG_SPECS: Mapping[str, list[Any]] = {
    "model": ["nothing", 3, ""],
    "dataset": ["nothing", 3, "UPPER"],
    "datasets": [[], ["nothing"], ["sums", "sums"]],
    "prompts": [[], ["nothing"], ["fallback-soft"], ["bytes-soft@9"]],
    "priors": [[], [{"kind": "wishful"}], [{"kind": "text"}], [{"kind": "prompt", "ref": "nothing"}]],
    "prior": [{"kind": "isotropic", "std": -1}, {"kind": "knn", "fit": {"embeddings": "vocabulary"}, "k": 9999}],
    "method": [{"kind": "deep", "layers": [99]}, {"kind": "soft", "n_virtual": 0}, {"kind": "soft", "n_virtual": 500}],
    "optimizer": [{"lr": -1}, {"steps": 0}, {"momentum": 1}],
    "sites": [[], ["nowhere"], ["resid_post", "resid_post"]],
    "layers": [[99], [], "some"],
    "sources": [[], [{"dataset": "nothing"}], [{}], [{"prompts": ["fallback-soft"]}]],
    "prompt_refs": [[], ["nothing"], ["fallback-soft"], [None, None]],
    "context": ["x" * 50, [{"role": "system", "content": "s"}], {"shots": 99}, 3],
    "answer": ["whole", {"find": "pattern", "pattern": "("}, {"find": "after"}, "part"],
    "keep": ["majority", "best"],
    "endpoint": ["/v1/embeddings", None],
    "input_file_id": ["file-1", "../x", 3],
    "logprobs": [64, 65, -1],
    "teacher": [
        "nobody",
        "https://example.org",
        {},
        {"dataset": "nothing"},
        {"context": []},
        {"prompt_ref": "fallback-soft"},
    ],
    "target": [{"part": "none"}, {"part": {"steps": 2}}, {"part": {"remove_per_epoch": 0}}, 3],
    "loss": [
        [],
        [{"kind": "kl", "top_k": 9999}],
        [{"kind": "jsd", "rest": False}],
        [{"kind": "states", "layers": [99]}],
    ],
    "on_policy": [2, -1, "all"],
    "name": ["sums", "UPPER"],
    "split": ["holdout"],
    "n": [0, -1, "all"],
    "never_heard_of": [1],
}


@st.composite
def _prompt_uploads(draw: st.DrawFn) -> Call:
    """A safetensors file, whole or with one bit or byte wrong."""
    base, width = draw(st.sampled_from([("bytes", 56), ("fallback", 44), ("bytes", 57)]))
    about = {
        "kind": "soft",
        "base": base,
        **draw(st.sampled_from([{}, {"notes": "n"}, {"base_revision": "x"}, {"colour": "red"}])),
    }
    data = bytearray(save({"soft": np.ones((2, width), np.float32)}, {"promptatlas": json.dumps(about)}))
    harm = draw(st.sampled_from(["none", "none", "bit", "cut", "empty"]))
    if harm == "bit":
        data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    if harm in ("cut", "empty"):
        del data[draw(st.integers(0, len(data) - 1)) if harm == "cut" else 0 :]
    headers = {
        "Content-Type": draw(
            st.sampled_from([TENSORS_TYPE, "application/octet-stream", "application/zip", "text/plain"])
        )
    }
    name = draw(st.sampled_from(["uploaded", "uploaded-too", "UPPER", ""]))
    return Call("POST", "/v1/prompts", {"params": {"name": name}, "content": bytes(data), "headers": headers})


@st.composite
def _dataset_uploads(draw: st.DrawFn) -> Call:
    """Lines, of which one may be wrong."""
    lines = ['{"input": "a", "target": "b"}', '{"text": "some text"}', "{", "[]", '{"input": 3}', "", "\udcff"]
    content = "\n".join(draw(st.lists(st.sampled_from(lines), max_size=3))).encode("utf-8", "surrogateescape")
    form = draw(st.sampled_from(["jsonl", "text", "squad", "gsm8k", "deepmind-math", "csv"]))
    name = draw(st.sampled_from(["uploaded", "UPPER", "sums"]))
    headers = {"Content-Type": "application/jsonl"}
    return Call(
        "POST", "/v1/datasets", {"params": {"name": name, "format": form}, "content": content, "headers": headers}
    )
