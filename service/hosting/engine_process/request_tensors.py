"""Tensors of requests, decoded and checked in the engine process, where torch is loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.engine.comparisons import LensDivergence
from service.engine.inputs import Vectors
from service.engine.requests import Capture, Generate, Intervention, Projection
from service.errors import InvalidRequest
from service.hosting.ipc.messages import Submit

if TYPE_CHECKING:
    import torch


def attach_values(job: Submit) -> Generate | Capture:
    """The request of a job with the tensors of its interventions, projection and vectors filled in, as float32.

    Raises:
        InvalidRequest: the tensors cannot be decoded, or one is missing, not floating point, or not finite.
    """
    request = _with_vectors(_with_projection(job.request))
    if not job.values:
        return request
    tensors = _read(job.tensors) if job.tensors else {}
    filled = tuple(
        intervention
        if name is None
        else _fill(intervention, name=name, tensors=tensors, loc=("interventions", i, "value"))
        for i, (intervention, name) in enumerate(zip(request.interventions, job.values, strict=True))
    )
    return replace(request, interventions=filled)


def attach_states(request: LensDivergence) -> LensDivergence:
    """The request with tensors in place of the NumPy arrays that the API process sends."""
    import torch

    states, others = (torch.tensor(values, dtype=torch.float32) for values in (request.states, request.others))
    return replace(request, states=states, others=others)


def _with_projection(request: Generate | Capture) -> Generate | Capture:
    # The API process sends the projection of a map as numpy arrays, because it does not load torch.
    spec = request.capture
    if spec is None or not isinstance(spec.reduce, Projection):
        return request
    import torch

    given = spec.reduce
    mean, components = (torch.tensor(values, dtype=torch.float32) for values in (given.mean, given.components))
    return replace(request, capture=replace(spec, reduce=Projection(mean=mean, components=components)))


def _with_vectors(request: Generate | Capture) -> Generate | Capture:
    # These are numpy arrays too.
    if not any(isinstance(item, Vectors) for item in request.inputs):
        return request
    import torch

    filled = tuple(
        Vectors(values=torch.tensor(item.values, dtype=torch.float32)) if isinstance(item, Vectors) else item
        for item in request.inputs
    )
    return replace(request, inputs=filled)


def _read(data: bytes) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    try:
        return load(data)
    except Exception as error:
        raise InvalidRequest(
            "Part 'tensors': expected a safetensors file, got other bytes.", loc=("tensors",)
        ) from error


def _fill(
    intervention: Intervention, *, name: str, tensors: dict[str, torch.Tensor], loc: tuple[str | int, ...]
) -> Intervention:
    import torch

    tensor = tensors.get(name)
    if tensor is None:
        found = ", ".join(sorted(tensors)) or "none"
        raise InvalidRequest(f"Part 'tensors' has no tensor {name!r}; it has {found}.", loc=loc)
    if not tensor.is_floating_point():
        raise InvalidRequest(
            f"Tensor {name!r}: expected floating point, got {str(tensor.dtype).removeprefix('torch.')}.", loc=loc
        )
    if not torch.isfinite(tensor.float()).all():
        raise InvalidRequest(f"Tensor {name!r}: expected finite numbers, got NaN or infinity.", loc=loc)
    return replace(intervention, value=tensor.float())
