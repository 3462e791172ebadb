"""Messages from rank 0 to the other ranks. Each one is a call that all ranks run, or an edit of what they keep.

Rank 0 has the requests, the scheduler and the sampler. The state of another rank is a function of these messages: its models,
the keys and values of its heads, and the compiled prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.engine.shapes import Float, Int, Tensor

TapKey = tuple[str, int | None, str | None]
"""Kind, layer and path of a tap."""


@dataclass(frozen=True, kw_only=True)
class LoadModel:
    """Load one more model, whose number is the count of those before it. size: number of ranks."""

    name: str
    folder: str
    dtype: str
    size: int


@dataclass(frozen=True)
class BatchTokens:
    """Running rows over the cache.

    spans: slot, offset, begin, end and number of the prompt, as in ``Span``.
    """

    spans: tuple[tuple[int, int, int, int, int | None], ...]
    n_decode: int


@dataclass(frozen=True)
class SequenceTokens:
    """Whole sequences. groups: offset, rows, length and number of the prompt, as in ``SequenceGroup``."""

    groups: tuple[tuple[int, int, int, int | None], ...]


@dataclass(frozen=True)
class RecordedTokens:
    """One sequence whose keys and values are kept."""

    n_tokens: int


@dataclass(frozen=True, kw_only=True)
class Forward:
    """One forward.

    Attributes:
        tokens: what the tokens attend to.
        reads: taps that rank 0 reads: their parts are collected from all ranks.
        changed: taps whose rows rank 0 changes and sends to the others.
        stops: the forward stops after the last of ``reads``.
        mlp: layer and packed tokens of a ``PartialMLP``.
    """

    tokens: BatchTokens | SequenceTokens | RecordedTokens
    ids: Int[Tensor, " tokens"] | None = None
    vectors: Float[Tensor, "tokens d_model"] | None = None
    logits_at: Int[Tensor, " kept"] | None = None
    reads: tuple[TapKey, ...] = ()
    changed: tuple[TapKey, ...] = ()
    stops: bool = False
    mlp: tuple[int, tuple[int, ...]] | None = None


@dataclass(frozen=True)
class ResizeCache:
    """``KVCache.resize``."""

    n_slots: int
    width: int
    keep: tuple[int, ...]


@dataclass(frozen=True)
class LoadPrompts:
    """``KVCache.load_prompts``. slots: number of each prompt, and its slots."""

    slots: tuple[tuple[int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class MoveSlot:
    """``KVCache.move``."""

    source: int
    target: int
    length: int


@dataclass(frozen=True)
class CompilePrompt:
    """Compile a prompt and keep it under a number."""

    number: int
    tensors: Mapping[str, Tensor]
    where: str | None


@dataclass(frozen=True)
class ReadPrompt:
    """Run the virtual positions of a prompt, for their states at taps."""

    tensors: Mapping[str, Tensor]
    where: str | None
    taps: tuple[TapKey, ...]


@dataclass(frozen=True)
class CollectPrompt:
    """Collect the heads of a compiled prompt."""

    number: int


@dataclass(frozen=True)
class ForgetPrompts:
    """Drop compiled prompts."""

    numbers: tuple[int, ...]


@dataclass(frozen=True)
class CheckLens:
    """Check whether the model has a logit lens."""


@dataclass(frozen=True)
class ReadLens:
    """Apply final norm and head to states."""

    states: Float[Tensor, "rows d_model"]


@dataclass(frozen=True)
class ReadVocabulary:
    """Run the embedding module for each token."""


Message = (
    LoadModel
    | Forward
    | ResizeCache
    | LoadPrompts
    | MoveSlot
    | CompilePrompt
    | ReadPrompt
    | CollectPrompt
    | ForgetPrompts
    | CheckLens
    | ReadLens
    | ReadVocabulary
)
