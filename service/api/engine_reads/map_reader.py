"""Reads a hosted model through the engine process for the sources of a map; see ``service.map_sources.interface``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from promptatlas.types import Mix
from promptatlas.types.forms import FORMS, kind_of
from promptatlas.types.maps import PriorSource
from promptatlas.types.references import Concat, PromptRef

from service.api.engine_reads.engine_model import EngineModel
from service.api.requests.engine_requests import new_request_id
from service.api.requests.prompt_resolution import ResolvedModel, resolve_model
from service.api.services import Services
from service.engine.requests import Capture, CaptureSpec, Generate, Intervention, Sampling
from service.errors import InvalidRequest
from service.map_sources.interface import Generations
from service.map_sources.texts import BatchLimits, Text, TextParts, without_sink
from service.store.maps.store import StoredMap, site_of

MAX_INPUTS = 64
"""Inputs of one request to the engine, so that requests of other clients run in between."""

BATCH_BYTES = 32 << 20
"""States that one request returns, if it has several inputs."""

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Ids = tuple[int, ...]
Answer = TypeVar("Answer")


class EngineTextReader:
    """Reads texts under one prompt, or under none.

    Args:
        found: the map; its facts say which tokens the tokenizer adds.
        max_bytes: of the result of one request.
    """

    def __init__(self, model: EngineModel, *, found: StoredMap, resolved: ResolvedModel, max_bytes: int) -> None:
        n_virtual = 0 if resolved.used is None else resolved.used.n_virtual
        self._model = model
        self._prompt = resolved.prompt
        self._n_added = found.facts.added
        self._skips_first = found.facts.skips_first
        self._max_bytes = max_bytes
        self.prompt_label = _label(resolved)
        self.n_positions: int = model.card["n_positions"] - n_virtual
        self.max_tokens = max(1, min(found.facts.max_tokens, self.n_positions))

    def batch_limits(self, *, n_layers: int) -> BatchLimits:
        n_bytes_per_token = 4 * self._model.card["d_model"] * n_layers
        n_tokens = min(BATCH_BYTES, self._max_bytes) // n_bytes_per_token
        return BatchLimits(max_tokens=max(1, n_tokens), max_texts=MAX_INPUTS)

    async def tokenize(self, parts: Sequence[TextParts]) -> list[Text]:
        """InvalidRequest for a text without tokens, or longer than the context."""
        front, behind = self._n_added
        with_end = [i for i, text in enumerate(parts) if text.end]
        begins = await self._token_ids([text.begin for text in parts])
        ends = dict(zip(with_end, await self._token_ids([parts[i].end for i in with_end]), strict=True))
        texts = []
        for i, begin in enumerate(begins):
            end = ends.get(i, ())
            end = end[front : len(end) - behind]
            own = tuple(front <= at < len(begin) - behind for at in range(len(begin))) + (True,) * len(end)
            own = without_sink(own, is_sink=self._skips_first)
            texts.append(parts[i].tokenized(begin + end, own=own, max_tokens=self.max_tokens))
        return texts

    async def capture(self, texts: Sequence[Text], *, layers: Sequence[int]) -> Mapping[str, Array]:
        request = Capture(
            request_id=new_request_id(),
            inputs=tuple(text.ids for text in texts),
            capture=CaptureSpec(sites=tuple(map(site_of, layers))),
            prompt=self._prompt,
        )
        return (await self._model.run(request)).tensors

    async def generate(
        self, texts: Sequence[Text], *, layers: Sequence[int], max_tokens: int, sampling: Sampling
    ) -> Generations:
        request = Generate(
            request_id=new_request_id(),
            inputs=tuple(text.ids for text in texts),
            max_tokens=max_tokens,
            sampling=sampling,
            prompt=self._prompt,
            capture=CaptureSpec(sites=tuple(map(site_of, layers))),
        )
        file = await self._model.run(request)
        return Generations(tensors=file.tensors, infos=file.metadata["inputs"])

    async def _token_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids with those that the tokenizer adds."""
        # The cheapest capture that returns ids: nothing runs after the embedding module.
        spec = CaptureSpec(sites=("embed",), reduce="norm")
        found: list[Ids] = []
        for start in range(0, len(texts), MAX_INPUTS):
            inputs = tuple(texts[start : start + MAX_INPUTS])
            file = await self._model.run(Capture(request_id=new_request_id(), inputs=inputs, capture=spec))
            ids, offsets = file.tensors["token_ids"].tolist(), file.tensors["row_offsets"].tolist()
            found += [tuple(ids[a:b]) for a, b in pairwise(offsets)]
        return found


class EngineMapReader:
    """Reads the model of one map. Sources that need more than the engine and the stores are refused."""

    def __init__(self, model: EngineModel, *, found: StoredMap, services: Services) -> None:
        self._model = model
        self._found = found
        self._services = services
        self._tokens: Sequence[str] | None = None

    async def under(self, ref: PromptRef | None) -> EngineTextReader:
        state = self._services.engine.require_engine()
        resolved = await resolve_model(self._services.prompts, state=state, model=self._model.name, prompt_ref=ref)
        max_bytes = self._services.settings.max_capture_bytes
        return EngineTextReader(self._model, found=self._found, resolved=resolved, max_bytes=max_bytes)

    async def n_tokens(self) -> int:
        return len(await self._vocabulary())

    async def token_texts(self, ids: Sequence[int]) -> list[str]:
        texts = await self._vocabulary()
        return [texts[i] if i < len(texts) else "" for i in ids]

    async def embeddings(self, ids: Sequence[int]) -> Floats:
        n_positions, d_model = self._model.card["n_positions"], self._model.card["d_model"]
        inputs = [tuple(ids[start : start + n_positions]) for start in range(0, len(ids), n_positions)]
        n_at_once = max(1, min(MAX_INPUTS, self._max_bytes // (4 * d_model * n_positions)))
        blocks = []
        for start in range(0, len(inputs), n_at_once):
            spec = CaptureSpec(sites=("embed",))
            batch = tuple(inputs[start : start + n_at_once])
            file = await self._model.run(Capture(request_id=new_request_id(), inputs=batch, capture=spec))
            blocks.append(file.tensors["embed"])
        return np.concatenate(blocks)

    async def virtual_states(
        self, tensors: Mapping[str, Floats], *, where: str | None, layers: Sequence[int]
    ) -> Mapping[int, Floats]:
        """Vectors replace the states of as many tokens: a prompt precedes all text, so these become the prompt's states."""
        n_virtual = len(next(iter(tensors.values())))
        # A deep prompt's vectors enter their blocks as they are, the first block included.
        form = FORMS[kind_of(tensors)]
        values = {
            "embed" if (layer := form.layer_of(name)) is None else f"resid_pre.{layer}": vectors
            for name, vectors in tensors.items()
        }
        positions = tuple(range(n_virtual))
        request = Capture(
            request_id=new_request_id(),
            inputs=((0,) * n_virtual,),
            capture=CaptureSpec(sites=tuple(map(site_of, layers))),
            interventions=tuple(Intervention(site=site, positions=positions, op="set") for site in values),
        )
        file = await self._model.run(request, values=values)
        return {layer: file.tensors[site_of(layer)] for layer in layers}

    async def prior_draws(self, source: PriorSource, *, layer: int) -> Floats:
        raise InvalidRequest(
            "Priors are fitted and drawn by workers only: add the prior to a map run, or draw from it with "
            "POST /v1/priors/sample and send the draws as part 'vectors'."
        )

    async def run_blocking(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.to_thread(work)

    def warn(self, text: str) -> None:
        """A response has no place for warnings."""

    def inputs_left_out(self, n: int, *, n_inputs: int) -> None:
        raise InvalidRequest(f"{n} of {n_inputs} inputs are empty, or fill the model's context: shorten them.")

    @property
    def _max_bytes(self) -> int:
        return min(BATCH_BYTES, self._services.settings.max_capture_bytes)

    async def _vocabulary(self) -> Sequence[str]:
        if self._tokens is None:
            self._tokens = await asyncio.to_thread(self._services.maps.tokens, self._found)
        return self._tokens


def _label(resolved: ResolvedModel) -> str | None:
    if resolved.used is None:
        return None
    ref = resolved.used.ref
    if isinstance(ref, Mix):
        return " + ".join(f"{part.weight:g}·{part.ref}" for part in ref.mix)
    if isinstance(ref, Concat):
        return " then ".join(ref.concat)
    return ref if isinstance(ref, str) else " | ".join(ref.refs)
