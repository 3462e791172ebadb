"""Interventions with their tensors, as the caller writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import safetensors.numpy

from promptatlas.resources.encoding import Floats, as_floats, json_bytes
from promptatlas.transport.call import JSON, SAFETENSORS, Body


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """A change of the activations during the forward pass.

    site, layers: where. positions: "all", "last", "generated", a list, or a slice.
    op: ``add`` (x + strength·value), ``set`` (value), ``scale`` (strength·x), ``project_out`` (removes the value's direction).
    value: ``[d]`` or ``[n_positions, d]``, numpy array or torch tensor; None for ``scale``.
    """

    site: str
    op: Literal["add", "set", "scale", "project_out"]
    value: Any = None
    layers: Sequence[int] | Literal["all"] = "all"
    positions: Any = "all"
    strength: float = 1.0


def split_tensors(interventions: Sequence[Intervention]) -> tuple[list[dict[str, Any]], dict[str, Floats]]:
    """Interventions as JSON fields, which name their tensors, and the tensors."""
    specs: list[dict[str, Any]] = []
    tensors: dict[str, Floats] = {}
    for index, change in enumerate(interventions):
        spec = {name: getattr(change, name) for name in ("site", "op", "layers", "positions", "strength")}
        if change.value is not None:
            name = f"value{index}"
            tensors[name] = as_floats(change.value)
            spec["value"] = name
        specs.append(spec)
    return specs, tensors


def multipart_body(request: Mapping[str, Any], *, tensors: Mapping[str, Floats], part: str = "tensors") -> Body:
    """A JSON request with tensors: the parts ``request`` and ``part``, a safetensors file."""
    file = safetensors.numpy.save(dict(tensors))
    return Body(parts={"request": (json_bytes(request), JSON), part: (file, SAFETENSORS)})
