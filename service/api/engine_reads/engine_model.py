"""A hosted model in the engine process, as routes read it: requests in, numpy arrays out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from service.api.keys.caller_engine import OpensExchanges
from service.engine.requests import Capture, Generate
from service.hosting.ipc.messages import Submit
from service.store.artifacts.tensor_codec import TensorFile, decode, encode

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class EngineModel:
    """One hosted model. card: its fields. deadline_s: on the clock of ``engine``; past it requests end with DeadlineExceeded."""

    engine: OpensExchanges
    name: str
    card: Mapping[str, Any]
    deadline_s: float

    async def run(self, request: Capture | Generate, *, values: Mapping[str, Array] | None = None) -> TensorFile:
        """The tensors that a request results in.

        Args:
            values: one tensor for each intervention of the request, in that order, by any names.
        """
        tensors = encode(values) if values else b""
        job = Submit(model=self.name, request=request, tensors=tensors, values=tuple(values or ()))
        async with self.engine.open(job, deadline_s=self.deadline_s) as exchange:
            result = await exchange.result()
        try:
            data = await asyncio.to_thread(result.read, 0, n_bytes=result.n_bytes)
        finally:
            result.close()
        return await asyncio.to_thread(decode, data)
