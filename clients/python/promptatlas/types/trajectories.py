"""Trajectories: the ordered states of a generation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from promptatlas.types.activations import CaptureFields, CaptureMetadata
from promptatlas.types.completions import FinishReason
from promptatlas.types.sampling import MaxTokens, SamplingFields
from promptatlas.types.wire import ResponseBody, null_means


class TrajectoryRequest(SamplingFields, CaptureFields):
    """Body of ``POST /v1/trajectories``: the sampling fields of completions and the capture fields of activations.

    include_input: states of the input's tokens too.
    stream, echo, logprobs: taken only with the values that ask for nothing; a result has every token's logprob anyway.
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
    """The JSON under ``promptatlas`` in the header of a result: ``inputs`` has one object a trajectory."""

    inputs: list[TrajectoryInfo]


class TrajectoriesJson(ResponseBody):
    """``Accept: application/json``: tensors are the extra members, ``logprobs`` null where not generated."""

    row_offsets: list[int]
    token_ids: list[int] | None = None
    positions: list[int] | None = None
    generated: list[bool] | None = None
    logprobs: list[float | None] | None = None
    promptatlas: TrajectoryMetadata
    __pydantic_extra__: dict[str, list[Any]]
