"""Calls about maps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import safetensors.numpy

from promptatlas.calls.call import (
    JSON,
    SAFETENSORS,
    Body,
    Call,
    CallOptions,
    checked,
    json_body,
    nothing,
    options_of,
    reader,
)
from promptatlas.calls.interventions import as_floats
from promptatlas.calls.running import PromptChoice
from promptatlas.calls.runs import Spec
from promptatlas.calls.system import page_params
from promptatlas.types import ListPage, MapMethod, MapRow, ProjectBody

VECTORS = "vectors"


class MapOptions(CallOptions, total=False):
    """What a map takes beside model and sources; see ``promptatlas.types.MapSpec``."""

    method: MapMethod
    layers: Sequence[int]
    n_components: Literal[2, 3]
    n_pca: int
    n_neighbors: int
    min_dist: float
    metric: Literal["euclidean", "cosine"]
    perplexity: float
    sample: int
    seed: int


class NewPoints(CallOptions, total=False):
    """What can be placed on a map; at least one of texts, sources and vectors.

    texts: each one point, the mean over its tokens; per="token": a point a token. prompt_ref: they are read under it.
    sources: as in ``promptatlas.types.MapSpec``. vectors: `[n, d_model]`, numpy array or torch tensor.
    layers: those of the map to place on; None: all of them.
    """

    texts: Sequence[str]
    prompt_ref: PromptChoice | None
    per: Literal["text", "token"]
    sources: Sequence[Spec]
    vectors: Any
    layers: Sequence[int] | None


def points(map_id: str, layer: int | None, options: CallOptions) -> Call[None]:
    # As tensors: a million points are too many for JSON.
    params = {} if layer is None else {"layer": str(layer)}
    common = options_of(options)
    return Call(method="GET", path=_path(map_id), parse=nothing, params=params, accept=SAFETENSORS, **common)


def maps(limit: int | None, after: str | None, options: CallOptions) -> Call[ListPage[MapRow]]:
    params = page_params(limit, after)
    parse = reader(ListPage[MapRow])
    return Call(method="GET", path="/v1/maps", parse=parse, params=params, **options_of(options))


def project(map_id: str, fields: Mapping[str, Any], options: CallOptions) -> Call[None]:
    """The call that places what NewPoints has; ValueError where that is nothing, or vectors of another shape."""
    given = dict(fields)
    vectors = given.pop(VECTORS, None)
    request = checked(ProjectBody, {"sources": _sources(given), **_layers(given)})
    if vectors is None and not request["sources"]:
        raise ValueError("project: expected texts, sources or vectors, got none of them")
    body = json_body(request) if vectors is None else _with_vectors(request, vectors)
    path = f"{_path(map_id)}/project"
    return Call(method="POST", path=path, parse=nothing, body=body, accept=SAFETENSORS, **options_of(options))


def delete(map_id: str, options: CallOptions) -> Call[None]:
    return Call(method="DELETE", path=_path(map_id), parse=nothing, **options_of(options))


def _sources(given: Mapping[str, Any]) -> list[Any]:
    sources = list(given.get("sources") or ())
    about_texts = {name: given[name] for name in ("prompt_ref", "per") if given.get(name) is not None}
    if given.get("texts") is not None:
        return [{"texts": given["texts"], **about_texts}, *sources]
    if about_texts:
        raise ValueError(f"project: expected texts for {' and '.join(about_texts)}; sources have fields of their own")
    return sources


def _layers(given: Mapping[str, Any]) -> dict[str, Any]:
    return {} if given.get("layers") is None else {"layers": given["layers"]}


def _with_vectors(request: Mapping[str, Any], vectors: Any) -> Body:
    floats = as_floats(vectors)
    if floats.ndim != 2 or not floats.size or not np.isfinite(floats).all():
        raise ValueError(f"vectors: expected finite numbers of shape [n, d_model], got shape {list(floats.shape)}")
    content = json.dumps(request, ensure_ascii=False, allow_nan=False).encode()
    return Body(parts={"request": (content, JSON), VECTORS: (safetensors.numpy.save({VECTORS: floats}), SAFETENSORS)})


def _path(map_id: str) -> str:
    return f"/v1/maps/{quote(map_id, safe='')}"
