"""Declarative interventions on the model's activations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from promptatlas.types.sites import Layers, PositionList, PositionSlice, Site
from promptatlas.types.wire import RequestBody

TensorName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""Name of a tensor in the multipart part ``tensors``."""


class InterventionSpec(RequestBody):
    """One intervention at one site.

    op: ``add`` (x + strength·v), ``set`` (strength·v), ``scale`` (strength·x), ``project_out`` (x − strength·(x·v̂)v̂).
    value: name of the tensor v, ``[d]`` or ``[n_positions, d]``; required, except for ``scale``, which has none.
    positions: of the text; ``generated`` is every token after the input.
    """

    site: Site
    layers: Layers = "all"
    positions: Literal["all", "last", "generated"] | PositionList | PositionSlice = "all"
    op: Literal["add", "set", "scale", "project_out"]
    value: TensorName | None = None
    strength: float = 1.0

    @model_validator(mode="after")
    def _value_where_needed(self) -> InterventionSpec:
        if self.op == "scale" and self.value is not None:
            raise ValueError(f"value: expected none for op 'scale', which multiplies by strength; got {self.value!r}")
        if self.op != "scale" and self.value is None:
            raise ValueError(f"value: expected the name of a tensor in part 'tensors' for op {self.op!r}, got none")
        return self


Interventions = Annotated[list[InterventionSpec], Field(max_length=64)]
