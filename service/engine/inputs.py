"""What a row reads: a text, token ids or vectors, and the stored prompt in front of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
else:
    # The API process uses these classes and must not load torch.
    Tensor = Any

NO_TOKEN = -1
"""Token id of a position that has a vector in place of a token."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """Vectors `[n, d_model]`, float32, in place of the embeddings of n tokens; as ``inputs_embeds`` of transformers."""

    values: Tensor


TextInput = str | tuple[int, ...]
"""A text, or its token ids."""

Input = TextInput | Vectors


@dataclass(frozen=True, kw_only=True)
class PromptChoice:
    """An affine mix of stored prompts, by content hash; one part of weight 1 is that prompt itself.

    The hash of a posterior's member is that of the posterior, ``#`` and the member's index.
    is_ensemble: the parts are not mixed; each reads the input, and their next-token probabilities are averaged.
    is_concat: the parts are not mixed; their virtual positions follow one another, in order. Weights are ignored.
    refs: for each part the version that it was found as, which saves a search for the content; empty if unknown.
    """

    parts: tuple[tuple[str, float], ...]
    refs: tuple[str, ...] = field(default=(), compare=False)
    is_ensemble: bool = False
    is_concat: bool = False

    @property
    def members(self) -> tuple[PromptChoice, ...]:
        """The prompts of an ensemble; otherwise the choice itself."""
        if not self.is_ensemble:
            return (self,)
        return tuple(PromptChoice(parts=((sha256, 1.0),)) for sha256, _ in self.parts)

    @property
    def key(self) -> tuple[bool, tuple[tuple[str, float], ...]]:
        """Identity of the choice: equal keys mean equal prompts."""
        return self.is_concat, self.parts
