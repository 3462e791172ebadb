"""Prefix prompts (Li and Liang 2021): keys and values of every layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from promptatlas.types.forms.form import N_VIRTUAL, ModelShape, PromptForm, Shape, TuningMethod
from promptatlas.types.forms.soft import Frozen, Virtual


class PrefixMethod(TuningMethod):
    """Keys and values of every layer. d_reparametrised: width of an MLP that computes them during training.

    n_frozen: the first positions, whose keys and values are not trained.
    """

    kind: Literal["prefix"]
    n_virtual: Virtual = 20
    n_frozen: Frozen = 0
    d_reparametrised: int | None = Field(default=None, ge=1, le=16_384)


class PrefixForm(PromptForm):
    """Tensor ``prefix`` `[n_layers, 2, n_kv_heads, n_virtual, d_head]`: keys at 0, values at 1, as in the cache."""

    kind: ClassVar[str] = "prefix"
    has_vectors = False
    needs_equal_layers = True
    drawn_as: ClassVar[str] = "soft"
    why_no_vectors = "a prefix is keys and values in each layer: it has no vectors among the model's states"

    def shape(self, base: ModelShape) -> Shape:
        return (base.n_layers, 2, base.n_kv_heads, N_VIRTUAL, base.d_head)

    def fixed_layers(self, base: ModelShape) -> tuple[int, ...] | None:
        return tuple(range(base.n_layers))

    def layers_with_states(self, own: Sequence[int] | None, *, where: str | None, wanted: Iterable[int]) -> list[int]:
        return []
