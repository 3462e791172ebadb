"""Deep prompts: vectors at the input of chosen layers (arXiv 2412.18582, after Liu et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from promptatlas.types.forms.form import N_VIRTUAL, ModelShape, PromptForm, Shape, TuningMethod, Where
from promptatlas.types.forms.soft import Frozen, Virtual


class DeepMethod(TuningMethod):
    """Vectors at the input of chosen layers; layer 0 is the token embeddings. Negative layers count from the end.

    where: ``local``: only their own layer attends to them (as in the paper); ``carried``: they continue through the layers
    above. n_frozen: the first vectors of each layer, which are not trained.
    """

    kind: Literal["deep"]
    n_virtual: Virtual = 20
    n_frozen: Frozen = 0
    layers: list[int] = Field(default=[-3, -2, -1], min_length=1, max_length=1024)
    where: Where = "local"


class DeepForm(PromptForm):
    """Tensors ``deep.{layer}`` `[n_virtual, d_model]`."""

    kind: ClassVar[str] = "deep"
    wheres = ("local", "carried")
    is_layered = True

    def shape(self, base: ModelShape) -> Shape:
        return (N_VIRTUAL, base.d_model)

    def layers_with_states(self, own: Sequence[int] | None, *, where: str | None, wanted: Iterable[int]) -> list[int]:
        layers = sorted(own or ())
        return [layer for layer in wanted if layer in layers or (where == "carried" and layer >= layers[0])]
