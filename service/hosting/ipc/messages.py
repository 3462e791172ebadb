"""Messages between the API process and the engine process, encoded by :mod:`service.hosting.ipc.codec`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.engine.comparisons import LensDivergence
from service.engine.requests import (
    Capture,
    Delta,
    Detokenize,
    Estimate,
    Failed,
    Generate,
    KeysValues,
    RowDone,
    Tokenize,
)
from service.engine.statistics import EngineStatistics

# --- from the API process to the engine -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Run a request on a model.

    tensors: a safetensors file with the values of the request's interventions; empty if there are none.
    values: for each intervention the name of its tensor, None for those without one.
    metadata: facts that the API adds to the header of a tensor result.
    n_context: for a chat request without a limit, the maximum number of input and generated tokens together.
    traceparent: W3C trace context of the request's span; None unless the request is traced.
    """

    model: str
    request: Generate | Capture
    tensors: bytes = b""
    values: tuple[str | None, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    n_context: int | None = None
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True)
class EstimateCost:
    """Estimate the cost of a capture without running it."""

    model: str
    request: Capture


@dataclass(frozen=True, kw_only=True)
class ExportPrompt:
    """Compile a prompt and return its keys and values. metadata: facts that the API adds to the header of the result."""

    model: str
    request: KeysValues
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CompareStates:
    """Compare the logit lens at states with that at others. The arrays are NumPy arrays until the engine converts them."""

    model: str
    request: LensDivergence
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CallTokenizer:
    """Convert texts to tokens, or tokens to a text."""

    model: str
    request: Tokenize | Detokenize


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """Cancel a request; no reply is expected."""

    request_id: str


FromApi = Submit | EstimateCost | ExportPrompt | CompareStates | CallTokenizer | Cancel

# --- from the engine to the API process -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StoredResult:
    """A tensor result in safetensors format: small ones as ``data``, others as a file at ``path``.

    The receiver opens the file and unlinks it.
    """

    n_bytes: int
    path: str | None = None
    data: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The request has completed without error."""

    result: StoredResult | None = None


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """Answer to :class:`EstimateCost`."""

    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class Tokenized:
    """Answer to :class:`CallTokenizer`: the token ids of each text, or the text."""

    token_ids: tuple[tuple[int, ...], ...] = ()
    text: str = ""


Update = Delta | RowDone | Finished | Failed | Estimated | Tokenized


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Updates of one request from one step, in order.

    n_input: in the first reply to a submitted request, the number of tokens of each of its inputs.
    """

    request_id: str
    updates: tuple[Update, ...]
    n_input: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """State of the engine process, sent when a connection opens and about once a second while the engine works.

    generation: 1 for the first engine process of a service, one more for each that replaces it.
    models: by name, the fields of the model's card. stats: by name, the gauges and counters of its engine.
    statistics: by name, counters and histograms of its requests.
    """

    generation: int
    pid: int
    models: Mapping[str, Mapping[str, Any]]
    stats: Mapping[str, Mapping[str, float]]
    statistics: Mapping[str, EngineStatistics] = field(default_factory=dict)


FromEngine = Reply | EngineState
