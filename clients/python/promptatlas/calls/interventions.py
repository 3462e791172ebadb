"""Interventions with their tensors at hand, and the bodies that carry both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from promptatlas.calls.call import JSON, SAFETENSORS, Body, checked, json_body
from promptatlas.types import RequestBody

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """One change of the model's activations while it runs.

    site, layers: where. positions: "all", "last", "generated", a list, or a slice.
    op: ``add`` (x + strength·value), ``set`` (value), ``scale`` (strength·x), ``project_out`` (the value's direction).
    value: ``[d]`` or ``[n_positions, d]``, numpy array or torch tensor; None for ``scale``.
    """

    site: str
    op: Literal["add", "set", "scale", "project_out"]
    value: Any = None
    layers: Sequence[int] | Literal["all"] = "all"
    positions: Any = "all"
    strength: float = 1.0


def as_floats(value: Any) -> Floats:
    """An array, a torch tensor on any device, or nested lists as float32 in C order."""
    if hasattr(value, "detach"):
        # numpy knows neither gradients, devices nor bfloat16.
        value = value.detach().cpu().float().numpy()
    return np.ascontiguousarray(value, dtype=np.float32)


def body_of(model: type[RequestBody], fields: Mapping[str, Any], *, interventions: Sequence[Intervention]) -> Body:
    """The body of a request that runs the model: JSON, or multipart where interventions bring tensors."""
    if not interventions:
        return json_body(checked(model, fields))
    specs, tensors = _split(interventions)
    request = checked(model, {**fields, "interventions": specs})
    if not tensors:
        return json_body(request)
    content = json.dumps(request, ensure_ascii=False, allow_nan=False).encode()
    return Body(parts={"request": (content, JSON), "tensors": (safetensors.numpy.save(tensors), SAFETENSORS)})


def _split(interventions: Sequence[Intervention]) -> tuple[list[dict[str, Any]], dict[str, Floats]]:
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
