"""Trajectories: the ordered states of generations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from promptatlas.types.activations import CaptureFields, CaptureMetadata
from promptatlas.types.completions import FinishReason
from promptatlas.types.sampling import MaxTokens, SamplingFields
from promptatlas.types.wire import ResponseBody, null_means


class TrajectoryRequest(SamplingFields, CaptureFields):
    """Body of ``POST /v1/trajectories``: the sampling fields of completions and the capture fields of activations.

    include_input: also return the states of the input's tokens.
    stream, echo, logprobs: only their no-op values are accepted; results always contain log-probabilities.
    """

    max_tokens: Annotated[MaxTokens, null_means(16, schema=MaxTokens | None)] = 16
    include_input: bool = True
    stream: Literal[False] | None = False
    echo: Literal[False] | None = False
    logprobs: Literal[0] | None = None


class TrajectoryInfo(ResponseBody):
    """One trajectory, in row order."""

    text: str
    finish_reason: FinishReason
    n_input: int
    n_generated: int


class TrajectoryMetadata(CaptureMetadata):
    """The JSON under ``promptatlas`` in the header of a result: ``inputs`` has one object per trajectory."""

    inputs: list[TrajectoryInfo]


class TrajectoriesJson(ResponseBody):
    """A result with ``Accept: application/json``: tensors are additional members; ``logprobs`` is null for input tokens."""

    row_offsets: list[int]
    token_ids: list[int] | None = None
    positions: list[int] | None = None
    generated: list[bool] | None = None
    logprobs: list[float | None] | None = None
    promptatlas: TrajectoryMetadata
    __pydantic_extra__: dict[str, list[Any]]
