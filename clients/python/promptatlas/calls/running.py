"""Calls that run the model: completions, chat, activations, trajectories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from promptatlas.calls.call import SAFETENSORS, Call, CallOptions, nothing, options_of, reader
from promptatlas.calls.interventions import Intervention, body_of
from promptatlas.types import (
    ActivationRequest,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    Completion,
    CompletionRequest,
    EstimateResponse,
    RequestBody,
    TrajectoryRequest,
)

PromptChoice = str | Mapping[str, Any]
"""A prompt reference, or ``{"mix": [{"ref": …, "weight": …}]}``."""

EVENTS = "text/event-stream"


class RunOptions(CallOptions, total=False):
    """What every verb that runs the model takes."""

    prompt_ref: PromptChoice | None
    interventions: Sequence[Intervention]


class SamplingOptions(RunOptions, total=False):
    """How the next token is chosen; see ``promptatlas.types.SamplingFields``."""

    max_tokens: int
    n: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    logit_bias: Mapping[int, float] | Mapping[str, float]
    stop: str | Sequence[str]
    seed: int
    user: str


class CompletionOptions(SamplingOptions, total=False):
    """The rest of what completions take. ``logprobs``: how many alternatives beside each token's own."""

    logprobs: int
    echo: bool
    stream_options: Mapping[str, bool]


class ChatOptions(SamplingOptions, total=False):
    """The rest of what chat takes."""

    max_completion_tokens: int
    logprobs: bool
    top_logprobs: int
    stream_options: Mapping[str, bool]


class CaptureOptions(RunOptions, total=False):
    """What activations take beside inputs and sites; see ``promptatlas.types.ActivationRequest``."""

    layers: Sequence[int] | Literal["all"]
    positions: Literal["all", "last"] | Sequence[int] | slice
    include_virtual: bool
    reduce: Literal["mean", "norm"] | Mapping[str, Any] | None
    dtype: Literal["float32", "float16", "bfloat16"]


class TrajectoryOptions(SamplingOptions, total=False):
    """What trajectories take beside inputs and sites; see ``promptatlas.types.TrajectoryRequest``."""

    layers: Sequence[int] | Literal["all"]
    reduce: Literal["mean", "norm"] | Mapping[str, Any] | None
    dtype: Literal["float32", "float16", "bfloat16"]
    include_input: bool


def _parts(model: type[RequestBody], given: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The body and the options of a call, out of all keyword arguments of its verb."""
    call_options: CallOptions = {}
    fields = {**given, **options}
    interventions = fields.pop("interventions", ())
    for name in CallOptions.__annotations__:
        if name in fields:
            call_options[name] = fields.pop(name)  # type: ignore[literal-required]
    return {"body": body_of(model, fields, interventions=interventions), **options_of(call_options)}


def completion(given: Mapping[str, Any], options: Mapping[str, Any]) -> Call[Completion]:
    parts = _parts(CompletionRequest, given, options)
    return Call(method="POST", path="/v1/completions", parse=reader(Completion), **parts)


def completion_stream(given: Mapping[str, Any], options: Mapping[str, Any]) -> Call[Completion]:
    parts = _parts(CompletionRequest, {**given, "stream": True}, options)
    return Call(method="POST", path="/v1/completions", parse=reader(Completion), accept=EVENTS, **parts)


def chat(given: Mapping[str, Any], options: Mapping[str, Any]) -> Call[ChatCompletion]:
    parts = _parts(ChatCompletionRequest, given, options)
    return Call(method="POST", path="/v1/chat/completions", parse=reader(ChatCompletion), **parts)


def chat_stream(given: Mapping[str, Any], options: Mapping[str, Any]) -> Call[ChatCompletionChunk]:
    parts = _parts(ChatCompletionRequest, {**given, "stream": True}, options)
    return Call(method="POST", path="/v1/chat/completions", parse=reader(ChatCompletionChunk), accept=EVENTS, **parts)


def activations(given: Mapping[str, Any], options: Mapping[str, Any]) -> Call[None]:
    parts = _parts(ActivationRequest, given, options)
    return Call(method="POST", path="/v1/activations", parse=nothing, accept=SAFETENSORS, **parts)


def estimate(given: Mapping[str, Any], options: Mapping[str, Any]) -> Call[EstimateResponse]:
    parts = _parts(ActivationRequest, given, options)
    return Call(method="POST", path="/v1/activations/estimate", parse=reader(EstimateResponse), **parts)


def trajectories(given: Mapping[str, Any], options: Mapping[str, Any]) -> Call[None]:
    parts = _parts(TrajectoryRequest, given, options)
    return Call(method="POST", path="/v1/trajectories", parse=nothing, accept=SAFETENSORS, **parts)
