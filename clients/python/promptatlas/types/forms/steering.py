"""Steering prompts: one vector per layer, added to the residual stream (as in activation addition, arXiv 2308.10248)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from promptatlas.types.forms.form import ModelShape, PromptForm, Shape, TuningMethod


class SteeringMethod(TuningMethod):
    """One vector for each of some layers, added to the output of that block at every text and generated position.

    Negative layers count from the end. The kind has no virtual positions.
    """

    kind: Literal["steering"]
    layers: list[int] = Field(min_length=1, max_length=1024)


class SteeringForm(PromptForm):
    """Tensors ``steering.{layer}`` `[d_model]`, added to ``resid_post`` of that layer."""

    kind: ClassVar[str] = "steering"
    is_layered = True

    def shape(self, base: ModelShape) -> Shape:
        return (base.d_model,)

    def state_layer(self, layer: int | None) -> int:
        """The output of block l is the input of block l + 1."""
        return 0 if layer is None else layer + 1
