"""``GET /v1/prompts/{name}/versions/{v}/nearest``: nearest tokens of a prompt's vectors, and measures of their spread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request
from promptatlas.types import LensToken, NearToken, PromptTokens, VectorTokens

from service.api.engine_reads.engine_model import EngineModel
from service.api.engine_reads.nearest_tokens import Ranked, TokenReader
from service.api.requests.auth import Reader
from service.api.requests.deadlines import Deadline, while_connected
from service.api.requests.prompt_resolution import resolve_model
from service.api.responses.openapi import ENGINE_ERRORS, problems
from service.api.routes.prompts import NamePath, VersionPath
from service.api.services import ServicesDep
from service.engine.requests import Nearest
from service.errors import InvalidRequest
from service.measures.displacement import displacement
from service.measures.spread import effective_rank, mean_pairwise_distance, participation_ratio
from service.store.prompts.history import history_of
from service.store.prompts.manifests import PromptManifest
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore

router = APIRouter(tags=["prompts"])

Array = npt.NDArray[Any]
Metric = Literal["euclidean", "cosine"]


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """A prompt's vectors in one array `[n, d_model]`.

    rows: by tensor its rows in ``values``. moved: distance of each vector from its draw `[n]`, if the draw was kept.
    """

    values: Array
    rows: Mapping[str, slice]
    moved: Array | None


@router.get("/v1/prompts/{name}/versions/{version}/nearest", responses=problems(*ENGINE_ERRORS))
async def nearest(
    request: Request,
    services: ServicesDep,
    _caller: Reader,
    deadline_s: Deadline,
    name: NamePath,
    version: VersionPath,
    k: Annotated[int, Query(ge=1, le=20, description="Tokens per vector.")] = 5,
    metric: Annotated[Metric, Query(description="Distance to the token embeddings.")] = "euclidean",
) -> PromptTokens:
    """Return the nearest tokens of each vector of a prompt, its logit lens, and measures of collapse."""
    manifest = await asyncio.to_thread(services.prompts.get, name, version=version)
    form = manifest.form
    if not form.has_vectors:
        raise InvalidRequest(f"{manifest.ref} has no vectors to compare with tokens: {form.why_no_vectors}.")
    state = services.engine.require_engine()
    resolved = await resolve_model(services.prompts, state=state, model=manifest.base, prompt_ref=manifest.ref)
    vectors = await asyncio.to_thread(_vectors_of, manifest, services.prompts, services.runs)
    model = EngineModel(
        engine=services.engine_of(request), name=resolved.model, card=resolved.card, deadline_s=deadline_s
    )
    return await while_connected(
        request, _read(TokenReader(model=model), vectors, manifest=manifest, k=k, metric=metric)
    )


async def _read(
    reader: TokenReader, vectors: Vectors, *, manifest: PromptManifest, k: int, metric: Metric
) -> PromptTokens:
    near = await reader.nearest(vectors.values, Nearest(k=k, metric=metric))
    radii = await reader.own_radii(near.ids[:, 0], metric=metric)
    lens = await reader.lens(vectors.values, k=k)
    shown = [
        _shown(tensor, i - rows.start, at=i, vectors=vectors, near=near, radii=radii, lens=lens)
        for tensor, rows in vectors.rows.items()
        for i in range(rows.start, rows.stop)
    ]
    measures = {
        tensor: _measures(vectors, rows, near=near, own=[item for item in shown if item.tensor == tensor])
        for tensor, rows in vectors.rows.items()
    }
    return PromptTokens(name=manifest.name, version=manifest.version, metric=metric, vectors=shown, measures=measures)


def _vectors_of(manifest: PromptManifest, prompts: PromptStore, runs: RunStore) -> Vectors:
    stages = history_of(manifest, prompts=prompts, runs=runs, draws=True, snapshots=False)
    form = manifest.form
    names = sorted(stages[-1].tensors, key=lambda name: form.layer_of(name) or 0)
    vectors = {name: np.atleast_2d(stages[-1].tensors[name]) for name in names}
    rows: dict[str, slice] = {}
    for name in names:
        start = max((own.stop for own in rows.values()), default=0)
        rows[name] = slice(start, start + len(vectors[name]))
    values = np.concatenate(list(vectors.values()))
    if stages[0].role != "draw":
        return Vectors(values=values, rows=rows, moved=None)
    draw = np.concatenate([np.atleast_2d(stages[0].tensors[name]) for name in names])
    return Vectors(values=values, rows=rows, moved=displacement(draw, values).distance)


def _shown(
    tensor: str, index: int, *, at: int, vectors: Vectors, near: Ranked, radii: Mapping[int, float], lens: Ranked | None
) -> VectorTokens:
    return VectorTokens(
        tensor=tensor,
        index=index,
        norm=float(np.linalg.norm(vectors.values[at])),
        nearest=[NearToken(id=i, text=text, distance=score) for i, text, score in _tokens(near, at)],
        own_radius=radii.get(int(near.ids[at, 0])),
        lens=None
        if lens is None
        else [LensToken(id=i, text=text, logprob=score) for i, text, score in _tokens(lens, at)],
        moved=None if vectors.moved is None else float(vectors.moved[at]),
    )


def _tokens(ranked: Ranked, at: int) -> list[tuple[int, str, float]]:
    pairs = zip(ranked.ids[at].tolist(), ranked.scores[at].tolist(), strict=True)
    return [(i, ranked.texts.get(i, ""), score) for i, score in pairs if i >= 0]


def _measures(vectors: Vectors, rows: slice, *, near: Ranked, own: list[VectorTokens]) -> dict[str, float]:
    points = vectors.values[rows]
    found = {"effective_rank": effective_rank(points)}
    if len(points) > 1:
        found["participation_ratio"] = participation_ratio(points)
        found["mean_pairwise_distance"] = mean_pairwise_distance(points)
    if near.mean_norm:
        found["norm_ratio"] = float(np.mean([item.norm for item in own])) / near.mean_norm
    known = [
        (item.nearest[0].distance, item.own_radius) for item in own if item.nearest and item.own_radius is not None
    ]
    if known:
        found["nearest_distance"] = float(np.mean([distance for distance, _ in known]))
        found["share_within_radius"] = float(np.mean([distance <= radius for distance, radius in known]))
    if vectors.moved is not None:
        found["displacement"] = float(vectors.moved[rows].mean())
    return found
