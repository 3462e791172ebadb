"""Requests of the engine for completions and chats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from promptatlas.types import ChatCompletionRequest, CompletionRequest, SamplingFields

from service.engine.inputs import PromptChoice, TextInput, Vectors
from service.engine.requests import Generate, Sampling


def generation_of(spec: SamplingFields, *, request_id: str, prompt: PromptChoice | None) -> Generate:
    """A generation with the fields that completions, chats and trajectories share; inputs and interventions are not set."""
    return Generate(
        request_id=request_id,
        n=spec.n,
        sampling=_sampling(spec),
        stop=spec.stop_strings,
        min_tokens=spec.min_tokens,
        ignore_eos=spec.ignore_eos,
        stop_token_ids=tuple(spec.stop_token_ids or ()),
        skip_special_tokens=spec.skip_special_tokens,
        prompt=prompt,
    )


def with_completion(generate: Generate, spec: CompletionRequest, *, vectors: Sequence[Vectors] = ()) -> Generate:
    """The generation with the fields of a completion. vectors: of ``prompt_embeds``."""
    return replace(
        generate,
        inputs=(*vectors, *inputs_of(spec.inputs)),
        max_tokens=spec.max_tokens,
        logprobs=spec.logprobs,
        echo=spec.echo,
        prompt_logprobs=spec.prompt_logprobs,
        stream=spec.stream,
    )


def with_chat(generate: Generate, spec: ChatCompletionRequest) -> Generate:
    """The generation with the fields of a chat. Without a limit of tokens, ``max_tokens`` is 1 and is to be replaced."""
    return replace(
        generate,
        messages=tuple(message.template_fields for message in spec.messages),
        max_tokens=spec.token_limit or 1,
        logprobs=(spec.top_logprobs or 0) if spec.logprobs else None,
        prompt_logprobs=spec.prompt_logprobs,
        stream=spec.stream,
    )


def inputs_of(inputs: Sequence[str | list[int]]) -> tuple[TextInput, ...]:
    """Texts, and lists of token ids."""
    return tuple(item if isinstance(item, str) else tuple(item) for item in inputs)


def _sampling(spec: SamplingFields) -> Sampling:
    return Sampling(
        temperature=spec.temperature,
        top_k=spec.top_k,
        top_p=spec.top_p,
        min_p=spec.min_p,
        repetition_penalty=spec.repetition_penalty,
        presence_penalty=spec.presence_penalty,
        frequency_penalty=spec.frequency_penalty,
        logit_bias=spec.token_biases,
        seed=spec.seed,
    )
