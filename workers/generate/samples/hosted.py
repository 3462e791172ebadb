"""Samples of a hosted model, generated with the serving engine in the process of the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from promptatlas.types.generation import GenerateSpec

from service.engine.model.hosted_model import HostedModel
from service.engine.requests import Limits, Sampling
from service.engine.scheduling.chat_ids import chat_ids
from service.store.datasets.traces.top_tokens import TopTokens
from workers.evaluation.generation import GenerationInput, Output, TextGenerator
from workers.generate.samples.requests import SampleRequest
from workers.generate.samples.source import Identity
from workers.generate.samples.trace import Samples, Trace
from workers.inputs.tokenizers import tokenizer_sha256
from workers.states.prompt_choice import ChosenPrompt, prompt_digest


class HostedSource:
    """Samples from a hosted model under some prompts; a :class:`workers.generate.samples.source.SampleSource`.

    Args:
        prompts: those of the spec, in order.
        limits: of the batch.
        check: called before every forward; may raise to stop.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        spec: GenerateSpec,
        prompts: Sequence[ChosenPrompt | None],
        limits: Limits,
        check: Callable[[], None],
    ) -> None:
        self._model = model
        self._spec = spec
        self._prompts = prompts
        self._limits = limits
        self._check = check

    @property
    def identity(self) -> Identity:
        """The model and the prompts."""
        card = self._model.card
        return Identity(
            model=card.name,
            revision=card.revision,
            tokenizer_sha256=tokenizer_sha256(self._model.tokenizer),
            prompts=tuple(None if chosen is None else chosen.ref for chosen in self._prompts),
            prompts_sha256=tuple(None if chosen is None else prompt_digest(chosen.prompt) for chosen in self._prompts),
        )

    def generate(self, requests: Sequence[SampleRequest]) -> Samples:
        """One sample per request that fits the context together with its prompt."""
        ids = self._encode(requests)
        limits = [self._n_left(each, request) for each, request in zip(ids, requests, strict=True)]
        fitting = [i for i, n in enumerate(limits) if n >= max(1, self._spec.min_tokens)]
        inputs = [self._input(requests[i], ids[i], n_left=limits[i]) for i in fitting]
        # A new engine for each shard: its samples do not depend on what the cache held before.
        prompts = {str(i): None if chosen is None else chosen.prompt for i, chosen in enumerate(self._prompts)}
        generator = TextGenerator(self._model, prompts=prompts, limits=self._limits, check=self._check)
        outputs = generator.generate(inputs)
        traces = [_trace(requests[i], output, n_input=len(ids[i])) for i, output in zip(fitting, outputs, strict=True)]
        if self._spec.logprobs is None:
            return Samples(traces=traces)
        return Samples(traces=traces, top_tokens=[_top_tokens(output) for output in outputs])

    def _encode(self, requests: Sequence[SampleRequest]) -> list[tuple[int, ...]]:
        """Token ids as the engine encodes the same texts and messages."""
        tokenizer = self._model.tokenizer
        found: dict[int, tuple[int, ...]] = {}
        texts = {request.item: request.input for request in requests if isinstance(request.input, str)}
        if texts:
            encoded = tokenizer(list(texts.values()))["input_ids"]
            found = {item: tuple(ids) for item, ids in zip(texts, encoded, strict=True)}
        for request in requests:
            if request.item not in found and not isinstance(request.input, str):
                found[request.item] = chat_ids(tokenizer, request.input)
        return [found[request.item] for request in requests]

    def _n_left(self, ids: tuple[int, ...], request: SampleRequest) -> int:
        """Tokens that may be generated; 0 for an input that is empty or too long."""
        chosen = self._prompts[request.prompt]
        n_virtual = 0 if chosen is None else chosen.prompt.n_virtual
        n_left = self._model.n_positions - n_virtual - len(ids)
        return max(0, min(self._spec.max_tokens, n_left)) if ids else 0

    def _input(self, request: SampleRequest, ids: tuple[int, ...], *, n_left: int) -> GenerationInput:
        spec = self._spec
        return GenerationInput(
            label=str(request.prompt),
            ids=ids,
            max_tokens=n_left,
            sampling=sampling_of(spec, seed=request.seed),
            stop=spec.stop_strings,
            min_tokens=spec.min_tokens,
            top_tokens=spec.logprobs,
        )


def sampling_of(spec: GenerateSpec, *, seed: int) -> Sampling:
    """The engine's sampling parameters."""
    return Sampling(
        temperature=spec.temperature,
        top_k=spec.top_k,
        top_p=spec.top_p,
        min_p=spec.min_p,
        repetition_penalty=spec.repetition_penalty,
        presence_penalty=spec.presence_penalty,
        frequency_penalty=spec.frequency_penalty,
        seed=seed,
    )


def _trace(request: SampleRequest, output: Output, *, n_input: int) -> Trace:
    return Trace(
        item=request.item,
        prompt=request.prompt,
        sample=request.sample,
        seed=request.seed,
        text=output.text,
        finish_reason=output.finish_reason,
        n_input=n_input,
        n_tokens=output.n_generated,
    )


def _top_tokens(output: Output) -> TopTokens:
    assert output.top_tokens is not None
    logprobs, ids, tops = output.top_tokens
    return TopTokens(
        ids=np.array(output.token_ids, dtype=np.int32),
        logprobs=logprobs.numpy(),
        top_ids=ids.numpy(),
        top_logprobs=tops.numpy(),
    )
