"""Reads a model in process for the sources of a map; see ``service.map_sources.interface``. Nothing here suspends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from promptatlas.types.maps import PriorSource
from promptatlas.types.references import PromptRef

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import from_tensors
from service.engine.requests import CaptureSpec, Generate, Sampling
from service.map_sources.interface import Generations
from service.map_sources.texts import BatchLimits, Text, TextParts
from service.store.maps.store import site_of
from workers.inputs.limits import engine_limits
from workers.priors.distributions.random_streams import generator_for
from workers.priors.kinds.registry import build_prior
from workers.priors.prior import Space
from workers.priors.sources.sources import Sources
from workers.running.interface import RunContext
from workers.states.prompt_choice import ChosenPrompt, choose_prompt
from workers.states.reader import StateReader
from workers.states.texts import Encoder
from workers.states.virtual_states import virtual_states

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Answer = TypeVar("Answer")


class InProcessTextReader:
    """Reads texts under one prompt, or under none."""

    def __init__(self, run: RunContext, model: HostedModel, *, prompt: ChosenPrompt | None) -> None:
        n_virtual = 0 if prompt is None else prompt.prompt.n_virtual
        self._encoder = Encoder(model, n_virtual=n_virtual)
        self._reader = StateReader(
            model,
            prompt=None if prompt is None else prompt.prompt,
            limits=engine_limits(run.settings),
            check=run.check,
        )
        self.prompt_label = None if prompt is None else prompt.ref
        self.n_positions = model.n_positions - n_virtual
        self.max_tokens = self._encoder.longest

    def batch_limits(self, *, n_layers: int) -> BatchLimits:
        """The same for any ``n_layers``, so that a layer's states do not depend on which others are read."""
        return self._reader.batch_limits

    async def tokenize(self, parts: Sequence[TextParts]) -> list[Text]:
        return list(map(self._encoder.encode, parts))

    async def capture(self, texts: Sequence[Text], *, layers: Sequence[int]) -> Mapping[str, Array]:
        return self._reader.capture(texts, layers=layers)

    async def generate(
        self, texts: Sequence[Text], *, layers: Sequence[int], max_tokens: int, sampling: Sampling
    ) -> Generations:
        request = Generate(
            request_id=self._reader.request_id(),
            inputs=tuple(text.ids for text in texts),
            max_tokens=max_tokens,
            sampling=sampling,
            prompt=self._reader.choice,
            capture=CaptureSpec(sites=tuple(map(site_of, layers))),
        )
        found = self._reader.run(request)
        infos = cast(Sequence[Mapping[str, Any]], found.metadata["inputs"])
        return Generations(tensors={name: tensor.numpy() for name, tensor in found.tensors.items()}, infos=infos)


class InProcessMapReader:
    """Reads the model of a run; stops between reads when the run is stopped.

    Args:
        priors: what priors are fitted with.
    """

    def __init__(self, run: RunContext, model: HostedModel, *, priors: Sources) -> None:
        self._run = run
        self._model = model
        self._priors = priors
        self._encoder = Encoder(model)

    async def under(self, ref: PromptRef | None) -> InProcessTextReader:
        prompt = choose_prompt(self._run.prompts, ref, model=self._model)
        return InProcessTextReader(self._run, self._model, prompt=prompt)

    async def n_tokens(self) -> int:
        return min(self._model.catalogue.vocab_size, self._encoder.n_tokens)

    async def token_texts(self, ids: Sequence[int]) -> list[str]:
        return list(map(self._encoder.token_text, ids))

    async def embeddings(self, ids: Sequence[int]) -> Floats:
        self._run.check()
        with torch.inference_mode():
            embedded = self._model.architecture.embed(torch.tensor([list(ids)]).to(self._model.device))[0]
        return np.array(embedded.float().cpu().numpy())

    async def virtual_states(
        self, tensors: Mapping[str, Floats], *, where: str | None, layers: Sequence[int]
    ) -> Mapping[int, Floats]:
        # Copied, because the store's arrays are read-only views of a file.
        copied = {name: torch.from_numpy(np.array(values)) for name, values in tensors.items()}
        return virtual_states(self._model, from_tensors(copied, where=cast(Any, where)), layers=layers)

    async def prior_draws(self, source: PriorSource, *, layer: int) -> Floats:
        self._run.check()
        name = "soft" if layer == 0 else f"deep.{layer}"
        space = Space(d_model=self._model.d_model, n_virtual=source.n, layer=None if layer == 0 else layer)
        prior = build_prior(source.prior, space=space, sources=self._priors)
        draws = prior.sample(source.n, generator=generator_for(source.seed, name))
        return cast(Floats, draws.float().numpy())

    async def run_blocking(self, work: Callable[[], Answer]) -> Answer:
        self._run.check()
        return work()

    def warn(self, text: str) -> None:
        self._run.log(text, level="warning")

    def inputs_left_out(self, n: int, *, n_inputs: int) -> None:
        self.warn(f"{n} of {n_inputs} inputs are left out: they are empty, or fill the model's context.")
