"""Soft prompts (Lester et al. 2021): vectors in front of the token embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from promptatlas.types.forms.form import N_VIRTUAL, ModelShape, PromptForm, Shape, TuningMethod

Virtual = Annotated[int, Field(ge=1, le=4096)]
Frozen = Annotated[int, Field(ge=0, le=4095)]


class SoftMethod(TuningMethod):
    """Vectors in front of the token embeddings. n_frozen: the first vectors, which are not trained."""

    kind: Literal["soft"] = "soft"
    n_virtual: Virtual = 20
    n_frozen: Frozen = 0


class SoftForm(PromptForm):
    """Tensor ``soft`` `[n_virtual, d_model]`."""

    kind: ClassVar[str] = "soft"

    def shape(self, base: ModelShape) -> Shape:
        return (N_VIRTUAL, base.d_model)

    def layers_with_states(self, own: Sequence[int] | None, *, where: str | None, wanted: Iterable[int]) -> list[int]:
        return list(wanted)
