"""Nearest tokens of vectors, and what a logit lens reads in them, ranked in the engine process, which has the embeddings.

The vectors replace the embeddings of as many tokens (an intervention at ``embed``); the forward stops there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.api.engine_reads.engine_model import EngineModel
from service.api.requests.engine_requests import new_request_id
from service.engine.requests import Capture, CaptureSpec, Intervention, Lens, Nearest, Ranking
from service.errors import InvalidRequest
from service.store.artifacts.tensor_codec import TensorFile

N_AT_ONCE = 256
"""Vectors of one request to the engine, so that requests of other clients run in between."""

_SITE = "embed"

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The best ``k`` tokens of each vector, best first.

    ids: `[n, k]`, −1 for a vector of zeros. scores: `[n, k]`, distances or log-probabilities. texts: of all ids.
    mean_norm: mean norm of all token embeddings; None for a lens.
    """

    ids: Array
    scores: Array
    texts: dict[int, str]
    mean_norm: float | None = None


@dataclass(frozen=True, kw_only=True)
class TokenReader:
    """Ranks the tokens of one model."""

    model: EngineModel

    async def nearest(self, vectors: Array, how: Nearest) -> Ranked:
        """The nearest token embeddings to ``vectors`` `[n, d_model]`."""
        return await self._rank(vectors, how)

    async def lens(self, vectors: Array, *, k: int) -> Ranked | None:
        """The likeliest next tokens by the logit lens; None if the model has no lens."""
        try:
            return await self._rank(vectors, Lens(k=k))
        except InvalidRequest:
            return None

    async def own_radii(self, ids: Array, *, metric: Any) -> dict[int, float]:
        """The distance of each of these tokens to its nearest other token."""
        tokens = np.unique(ids[ids >= 0])
        radii: dict[int, float] = {}
        for start in range(0, len(tokens), self._n_at_once):
            part = tuple(tokens[start : start + self._n_at_once].tolist())
            spec = CaptureSpec(sites=(_SITE,), reduce=Nearest(k=2, metric=metric))
            file = await self.model.run(Capture(request_id=new_request_id(), inputs=(part,), capture=spec))
            radii |= dict(zip(part, file.tensors[f"{_SITE}.nearest_distances"][:, 1].tolist(), strict=True))
        return radii

    @property
    def _n_at_once(self) -> int:
        n_positions: int = self.model.card["n_positions"]
        return min(N_AT_ONCE, n_positions)

    async def _rank(self, vectors: Array, how: Ranking) -> Ranked:
        ids, scores = ("lens_ids", "lens_logprobs") if isinstance(how, Lens) else ("nearest_ids", "nearest_distances")
        files = [
            await self._rank_block(vectors[start : start + self._n_at_once], how)
            for start in range(0, len(vectors), self._n_at_once)
        ]
        headers = [file.metadata for file in files]
        return Ranked(
            ids=np.concatenate([file.tensors[f"{_SITE}.{ids}"] for file in files]),
            scores=np.concatenate([file.tensors[f"{_SITE}.{scores}"] for file in files]),
            texts={int(i): text for header in headers for i, text in header["tokens"].items()},
            mean_norm=headers[0].get("vocabulary", {}).get("mean_norm"),
        )

    async def _rank_block(self, vectors: Array, how: Ranking) -> TensorFile:
        n = len(vectors)
        request = Capture(
            request_id=new_request_id(),
            inputs=((0,) * n,),
            capture=CaptureSpec(sites=(_SITE,), reduce=how),
            interventions=(Intervention(site=_SITE, positions=tuple(range(n)), op="set"),),
        )
        return await self.model.run(request, values={"vectors": np.ascontiguousarray(vectors, dtype=np.float32)})
