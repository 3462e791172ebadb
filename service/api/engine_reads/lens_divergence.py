"""Divergence of the logit lens under one prompt from that under another, at every layer and token.

The states of both are captured like activations, so that they run in the batch and within the limits of the key. The engine
then compares their distributions, some rows at a time, so that requests of other clients run in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.api.engine_reads.engine_model import EngineModel
from service.api.requests.engine_requests import new_request_id
from service.engine.comparisons import LensDivergence
from service.engine.inputs import Input, PromptChoice
from service.engine.requests import Capture, CaptureSpec
from service.errors import InvalidRequest
from service.hosting.ipc.engine_pool import EnginePool
from service.hosting.ipc.messages import CompareStates
from service.store.artifacts.tensor_codec import decode

_VALUES_AT_ONCE = 1 << 24
"""Probabilities that one message to the engine compares."""

_ROWS = frozenset({"row_offsets", "positions", "token_ids"})

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Divergences:
    """kl: by tensor name, float32 `[n_rows]`, NaN where a state is missing. rows: the tensors that describe the rows."""

    kl: Mapping[str, Array]
    rows: Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class LensComparison:
    """Compares two prompts on one model. engine: runs the comparisons, ``model.engine`` the captures."""

    model: EngineModel
    engine: EnginePool

    async def run(
        self, inputs: tuple[Input, ...], spec: CaptureSpec, *, prompt: PromptChoice | None, against: PromptChoice | None
    ) -> Divergences:
        """KL(p ‖ q) in nats, p under ``prompt`` and q under ``against``.

        Raises:
            InvalidRequest: a site has another width than ``d_model``, or the model has no logit lens.
            TooLarge: the states exceed the limit of a capture.
        """
        requests = [
            Capture(request_id=new_request_id(), inputs=inputs, capture=spec, prompt=one) for one in (prompt, against)
        ]
        states, others = await asyncio.gather(*map(self.model.run, requests))
        kl = {
            name: await self._compare(rows, others.tensors[name], name=name)
            for name, rows in states.tensors.items()
            if name not in _ROWS
        }
        return Divergences(kl=kl, rows={name: states.tensors[name] for name in _ROWS})

    async def _compare(self, states: Array, others: Array, *, name: str) -> Array:
        d_model = self.model.card["d_model"]
        if states.shape[1:] != (d_model,) or others.shape != states.shape:
            raise InvalidRequest(
                f"Expected sites with one vector of width {d_model} per token; a row of {name} has shape "
                f"{list(states.shape[1:])}.",
                loc=("sites",),
            )
        size = max(1, _VALUES_AT_ONCE // self.model.card["vocab_size"])
        parts = [
            await self._compare_block(states[at : at + size], others[at : at + size])
            for at in range(0, len(states), size)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    async def _compare_block(self, states: Array, others: Array) -> Array:
        request: Any = LensDivergence(
            request_id=new_request_id(),
            states=np.ascontiguousarray(states, np.float32),  # type: ignore[arg-type]
            others=np.ascontiguousarray(others, np.float32),  # type: ignore[arg-type]
        )
        job = CompareStates(model=self.model.name, request=request)
        async with self.engine.open(job, deadline_s=self.model.deadline_s) as exchange:
            result = await exchange.result()
        try:
            found: Array = decode(result.read(0, n_bytes=result.n_bytes)).tensors["kl"]
            return found
        finally:
            result.close()
