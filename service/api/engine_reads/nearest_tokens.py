"""What vectors are near to and read as, through the engine process, where the embeddings are.

Vectors stand in for the embeddings of as many tokens (an intervention at ``embed``); the forward stops right there.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.engine.requests import Capture, CaptureSpec, Intervention, Lens, Nearest, Ranking
from service.errors import InvalidRequest
from service.hosting.ipc.engine_client import EngineClient
from service.hosting.ipc.messages import Submit
from service.store.artifacts.tensor_codec import TensorFile, decode, encode

N_AT_ONCE = 256
"""Vectors of one request to the engine; others' requests come in between."""

_SITE = "embed"

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """For each vector its ``k`` tokens, best first.

    ids: `[n, k]`, −1 for a vector of zeros. scores: distances or log-probabilities. texts: of all ids.
    mean_norm: of all token embeddings, with neighbours.
    """

    ids: Array
    scores: Array
    texts: dict[int, str]
    mean_norm: float | None = None


@dataclass(frozen=True, kw_only=True)
class TokenReader:
    """Asks the engine about one model's tokens, until a deadline on the hub's clock."""

    hub: EngineClient
    model: str
    n_positions: int
    deadline_s: float

    async def nearest(self, vectors: Array, how: Nearest) -> Ranked:
        """The nearest token embeddings to ``vectors`` `[n, d_model]`."""
        return await self._rank(vectors, how)

    async def lens(self, vectors: Array, *, k: int) -> Ranked | None:
        """What the vectors would make likely next; None if the model has no lens."""
        try:
            return await self._rank(vectors, Lens(k=k))
        except InvalidRequest:
            return None

    async def own_radii(self, ids: Array, *, metric: Any) -> dict[int, float]:
        """For each of these tokens how far its own nearest other token is."""
        wanted = np.unique(ids[ids >= 0])
        radii: dict[int, float] = {}
        for start in range(0, len(wanted), self._n_at_once):
            part = tuple(wanted[start : start + self._n_at_once].tolist())
            spec = CaptureSpec(sites=(_SITE,), reduce=Nearest(k=2, metric=metric))
            request = Capture(request_id=uuid.uuid4().hex, inputs=(part,), capture=spec)
            file = await self._run(Submit(model=self.model, request=request))
            radii |= dict(zip(part, file.tensors[f"{_SITE}.nearest_distances"][:, 1].tolist(), strict=True))
        return radii

    @property
    def _n_at_once(self) -> int:
        return min(N_AT_ONCE, self.n_positions)

    async def _rank(self, vectors: Array, how: Ranking) -> Ranked:
        ids, scores = ("lens_ids", "lens_logprobs") if isinstance(how, Lens) else ("nearest_ids", "nearest_distances")
        files = [
            await self._run(self._job(vectors[start : start + self._n_at_once], how))
            for start in range(0, len(vectors), self._n_at_once)
        ]
        headers = [file.metadata for file in files]
        return Ranked(
            ids=np.concatenate([file.tensors[f"{_SITE}.{ids}"] for file in files]),
            scores=np.concatenate([file.tensors[f"{_SITE}.{scores}"] for file in files]),
            texts={int(i): text for header in headers for i, text in header["tokens"].items()},
            mean_norm=headers[0].get("vocabulary", {}).get("mean_norm"),
        )

    def _job(self, vectors: Array, how: Ranking) -> Submit:
        n = len(vectors)
        put = Intervention(site=_SITE, positions=tuple(range(n)), op="set")
        spec = CaptureSpec(sites=(_SITE,), reduce=how)
        request = Capture(request_id=uuid.uuid4().hex, inputs=((0,) * n,), capture=spec, interventions=(put,))
        values = encode({"vectors": np.ascontiguousarray(vectors, dtype=np.float32)})
        return Submit(model=self.model, request=request, tensors=values, values=("vectors",))

    async def _run(self, job: Submit) -> TensorFile:
        async with self.hub.open(job, deadline_s=self.deadline_s) as exchange:
            result = await exchange.result()
        try:
            return await asyncio.to_thread(lambda: decode(result.read(0, n_bytes=result.n_bytes)))
        finally:
            result.close()
