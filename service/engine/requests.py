"""Requests and events of the engine: frozen dataclasses that are sent between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from service.engine.inputs import Input, PromptChoice
from service.errors import AtlasError

if TYPE_CHECKING:
    from torch import Tensor
else:
    # The API process uses these classes and must not load torch.
    Tensor = Any

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Positions start, start+1, … stop-1; None is open, negative counts from the end, as in Python."""

    start: int | None = None
    stop: int | None = None


Positions = Literal["all", "last", "generated"] | tuple[int, ...] | Slice
"""Text positions; "generated" (interventions only) is every token after the input."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Rows become ``(row - mean) @ components.T``: mean ``[d]``, components ``[k, d]``."""

    mean: Tensor
    components: Tensor


@dataclass(frozen=True, kw_only=True)
class Lens:
    """Logit lens: rows become the ``k`` most probable next tokens of the final norm and head applied to each state."""

    k: int


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """Rows become the ``k`` tokens with the nearest embeddings."""

    k: int
    metric: Literal["euclidean", "cosine"] = "euclidean"


Ranking = Lens | Nearest
"""Reductions to tokens: each tap gives two tensors, ids and scores."""


@dataclass(frozen=True, kw_only=True)
class CaptureSpec:
    """What to capture.

    sites: names as in the wire contract, TransformerLens aliases or module paths.
    layers: block indices (negative from the end) or "all"; ignored by sites without layers.
    reduce: None, "mean" over the chosen positions of each input, "norm" (L2 of each row), a projection, or a ranking.
    dtype: of the returned tensors.
    """

    sites: tuple[str, ...]
    layers: tuple[int, ...] | Literal["all"] = "all"
    positions: Positions = "all"
    include_virtual: bool = False
    reduce: Literal["mean", "norm"] | Projection | Ranking | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """A declarative change at one site: ``add`` (x + s·v), ``set`` (s·v), ``scale`` (s·x), ``project_out`` (x − s·(x·v̂)v̂).

    value: ``[d]`` or ``[n_positions, d]``; None for ``scale``.
    """

    site: str
    layers: tuple[int, ...] | Literal["all"] = "all"
    positions: Positions = "all"
    op: Literal["add", "set", "scale", "project_out"] = "add"
    value: Tensor | None = None
    strength: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Sampling parameters. temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 disable the filters."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Completions, and trajectories if ``capture`` is set: ``n`` rows for each input, ordered by input.

    logprobs: number of alternatives to report with each token's own logprob (None: no logprobs).
    echo: report the input's tokens (and, with logprobs, theirs) in front of the generated ones.
    stream: a Delta for each step with new text; otherwise one Delta per row, at its end.
    messages: chat messages; if given, ``inputs`` is empty and the model's chat template renders the only input.
    min_tokens: tokens that are generated before an end-of-text token, a stop token or a stop string can end a row.
    ignore_eos: end-of-text tokens do not end a row. stop_token_ids: these tokens do; they are not part of the text.
    skip_special_tokens: whether the text leaves out special tokens.
    prompt_logprobs: number of alternatives to report with the log-probability of each token of the input (None: nothing).
    top_tokens: number of most probable tokens to return as tensors with each generated token (None: nothing).
    """

    request_id: str
    inputs: tuple[Input, ...] = ()
    messages: tuple[Mapping[str, str], ...] | None = None
    n: int = 1
    max_tokens: int = 16
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    stop_token_ids: tuple[int, ...] = ()
    skip_special_tokens: bool = True
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    top_tokens: int | None = None
    echo: bool = False
    stream: bool = False
    prompt: PromptChoice | None = None
    interventions: tuple[Intervention, ...] = ()
    capture: CaptureSpec | None = None
    include_input: bool = True


@dataclass(frozen=True, kw_only=True)
class Capture:
    """Activations of inputs, without generation."""

    request_id: str
    inputs: tuple[Input, ...]
    capture: CaptureSpec
    prompt: PromptChoice | None = None
    interventions: tuple[Intervention, ...] = ()


@dataclass(frozen=True, kw_only=True)
class KeysValues:
    """Keys and values of a compiled prompt."""

    request_id: str
    prompt: PromptChoice


@dataclass(frozen=True, kw_only=True)
class Tokenize:
    """Token ids of texts. add_special_tokens: as the model reads the texts."""

    request_id: str
    texts: tuple[str, ...]
    add_special_tokens: bool = True


@dataclass(frozen=True, kw_only=True)
class Detokenize:
    """Text of tokens, special tokens included."""

    request_id: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TokenLogprob:
    """One token with its log-probability under the model's own distribution (before temperature and filters).

    Attributes:
        text_offset: position of its text in the returned text, in characters.
        logprob: None for the first token of an input, which is not predicted.
        top: id, text and log-probability of the alternatives, most probable first.
        partial: by id, the bytes of those of these tokens that are a part of a character; their text has U+FFFD instead.
    """

    token_id: int
    text: str
    text_offset: int
    logprob: float | None
    top: tuple[tuple[int, str, float], ...] = ()
    partial: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RankedToken:
    """One token with its log-probability and rank under the model's own distribution; rank 1 is the most probable."""

    token_id: int
    text: str
    logprob: float
    rank: int


@dataclass(frozen=True, kw_only=True)
class Delta:
    """New text of one row. Text that may belong to a stop string or to an incomplete character is sent later.

    prompt_logprobs: in the first delta, for each token of the input after the first: the token itself, then the most
    probable ones. None unless requested. top_tokens: if requested, log-probabilities of the generated tokens `[n]`, ids of
    the most probable ones `[n, k]`, and their log-probabilities `[n, k]`.
    """

    ends_request: ClassVar[bool] = False
    request_id: str
    row: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[tuple[RankedToken, ...], ...] | None = None
    top_tokens: tuple[Tensor, Tensor, Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class RowDone:
    """One row has ended."""

    ends_request: ClassVar[bool] = False
    request_id: str
    row: int
    finish_reason: FinishReason
    n_input: int
    n_generated: int


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """Named tensors on the CPU and JSON-able metadata: the body of an activations or trajectories response."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Done:
    """The whole request has ended; ``result`` for captures and trajectories."""

    ends_request: ClassVar[bool] = True
    request_id: str
    result: Tensors | None = None


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The request ended in an error, with all its rows. Other requests continue."""

    ends_request: ClassVar[bool] = True
    request_id: str
    error: AtlasError


Event = Delta | RowDone | Done | Failed


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Cost of a capture, which is not run."""

    n_tokens: int
    n_bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one engine.

    Attributes:
        max_rows: rows in the batch.
        max_waiting: rows in the queue, before submit() raises Busy.
        cache_bytes: keys and values of all running rows.
        max_step_tokens: tokens of one forward; longer inputs are split into chunks.
        max_capture_bytes: tensors in the result of one request.
        prompt_cache_bytes: compiled prompts.
    """

    max_rows: int = 64
    max_waiting: int = 1024
    cache_bytes: int = 2 << 30
    max_step_tokens: int = 2048
    max_capture_bytes: int = 1 << 30
    prompt_cache_bytes: int = 512 << 20
