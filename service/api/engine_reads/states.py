"""States read through the engine process, for routes that work on them here: requests, and their tensors as arrays."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from service.engine.requests import Capture, CaptureSpec, Generate, Input, Intervention, PromptChoice, Sampling
from service.hosting.ipc.engine_client import EngineClient
from service.hosting.ipc.messages import Submit
from service.store.artifacts.tensor_codec import TensorFile, decode, encode
from service.store.maps.store import site_of

MAX_INPUTS = 64
"""Of one request to the engine; others' requests come in between."""

BATCH_BYTES = 32 << 20
"""Of the states that one request brings, if it has several inputs."""

Array = npt.NDArray[Any]
Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class EngineStates:
    """Reads one hosted model until a deadline.

    max_bytes: of what the engine answers one request with; more is TooLarge.
    """

    hub: EngineClient
    model: str
    d_model: int
    deadline_s: float
    max_bytes: int

    async def token_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of texts with those that the tokenizer adds; InvalidRequest for one without any, or past the context."""
        # The cheapest that has ids: nothing is run behind the embedding module.
        spec = CaptureSpec(sites=("embed",), reduce="norm")
        found: list[Ids] = []
        for start in range(0, len(texts), MAX_INPUTS):
            file = await self._capture(tuple(texts[start : start + MAX_INPUTS]), spec)
            ids, offsets = file.tensors["token_ids"].tolist(), file.tensors["row_offsets"].tolist()
            found += [tuple(ids[a:b]) for a, b in pairwise(offsets)]
        return found

    async def states(
        self, inputs: Sequence[Ids], *, layers: Sequence[int], prompt: PromptChoice | None = None
    ) -> AsyncIterator[tuple[int, Mapping[int, Array]]]:
        """For each input its number and its states float32 `[tokens, d_model]` by layer."""
        spec = CaptureSpec(sites=tuple(map(site_of, layers)))
        for start, end in _batches([len(ids) for ids in inputs], n_fit=self._n_fit(layers)):
            file = await self._capture(tuple(inputs[start:end]), spec, prompt=prompt)
            offsets = file.tensors["row_offsets"].tolist()
            for i in range(end - start):
                rows = slice(offsets[i], offsets[i + 1])
                yield start + i, {layer: file.tensors[site_of(layer)][rows] for layer in layers}

    async def virtual_states(
        self, vectors: Mapping[str, Array], *, n_virtual: int, layers: Sequence[int]
    ) -> Mapping[int, Array]:
        """What vectors become: `[n_virtual, d_model]` at each of ``layers``, above those that they are put in.

        Args:
            vectors: `[n_virtual, d_model]` by the site that they are put in, e.g. ``embed`` or ``resid_pre.3``.
        """
        # A prompt comes before all text and sees none of it, so tokens in the place of its vectors become the same.
        at = tuple(range(n_virtual))
        put = tuple(Intervention(site=site, positions=at, op="set") for site in vectors)
        names = tuple(vectors)
        spec = CaptureSpec(sites=tuple(map(site_of, layers)))
        request = Capture(request_id=uuid.uuid4().hex, inputs=((0,) * n_virtual,), capture=spec, interventions=put)
        values = encode(vectors)
        file = await self._run(Submit(model=self.model, request=request, tensors=values, values=names))
        return {layer: file.tensors[site_of(layer)] for layer in layers}

    async def trajectories(
        self,
        inputs: Sequence[Ids],
        *,
        layers: Sequence[int],
        max_tokens: int,
        sampling: Sampling,
        prompt: PromptChoice | None = None,
    ) -> AsyncIterator[tuple[int, TensorFile]]:
        """Generations, some inputs at a time: the number of the first one, and their trajectories."""
        spec = CaptureSpec(sites=tuple(map(site_of, layers)))
        lengths = [len(ids) + max_tokens for ids in inputs]
        for start, end in _batches(lengths, n_fit=self._n_fit(layers)):
            request = Generate(
                request_id=uuid.uuid4().hex,
                inputs=tuple(inputs[start:end]),
                max_tokens=max_tokens,
                sampling=sampling,
                prompt=prompt,
                capture=spec,
            )
            yield start, await self._run(Submit(model=self.model, request=request))

    async def _capture(
        self, inputs: tuple[Input, ...], spec: CaptureSpec, *, prompt: PromptChoice | None = None
    ) -> TensorFile:
        request = Capture(request_id=uuid.uuid4().hex, inputs=inputs, capture=spec, prompt=prompt)
        return await self._run(Submit(model=self.model, request=request))

    async def _run(self, job: Submit) -> TensorFile:
        async with self.hub.open(job, deadline_s=self.deadline_s) as exchange:
            result = await exchange.result()
        try:
            data = await asyncio.to_thread(result.read, 0, n_bytes=result.n_bytes)
        finally:
            result.close()
        return await asyncio.to_thread(decode, data)

    def _n_fit(self, layers: Sequence[int]) -> int:
        return max(1, min(BATCH_BYTES, self.max_bytes) // (4 * self.d_model * len(layers)))


def _batches(lengths: Sequence[int], *, n_fit: int) -> list[tuple[int, int]]:
    """From where to where each batch goes: some inputs, of ``n_fit`` tokens together if they are several."""
    found: list[tuple[int, int]] = []
    start, n_tokens = 0, 0
    for end, length in enumerate(lengths):
        if end > start and (n_tokens + length > n_fit or end - start >= MAX_INPUTS):
            found.append((start, end))
            start, n_tokens = end, 0
        n_tokens += length
    return [*found, (start, len(lengths))] if lengths else []


def mean_of(states: Array) -> npt.NDArray[np.float32]:
    """The mean of rows `[n, d_model]`, as one row `[1, d_model]`."""
    mean: npt.NDArray[np.float32] = states.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
    return mean
