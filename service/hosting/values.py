"""Values of interventions: checked and turned into tensors where torch is at home, in the engine process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.engine.requests import Capture, Generate, Intervention
from service.errors import InvalidRequest
from service.hosting.messages import Submit

if TYPE_CHECKING:
    import torch


def attach_values(job: Submit) -> Generate | Capture:
    """The request of a job with the tensors of its interventions in place, as float32.

    Raises:
        InvalidRequest: the tensors cannot be read, one is missing, not of floating point, or not finite.
    """
    if not job.values:
        return job.request
    tensors = _read(job.tensors) if job.tensors else {}
    filled = tuple(
        intervention if name is None else _fill(intervention, name=name, tensors=tensors)
        for intervention, name in zip(job.request.interventions, job.values, strict=True)
    )
    return replace(job.request, interventions=filled)


def _read(data: bytes) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    try:
        return load(data)
    except Exception as error:
        raise InvalidRequest("Part 'tensors': expected a safetensors file, got bytes that are none.") from error


def _fill(intervention: Intervention, *, name: str, tensors: dict[str, torch.Tensor]) -> Intervention:
    import torch

    tensor = tensors.get(name)
    if tensor is None:
        raise InvalidRequest(f"Part 'tensors' has no tensor {name!r}; it has {', '.join(sorted(tensors)) or 'none'}.")
    if not tensor.is_floating_point():
        raise InvalidRequest(
            f"Tensor {name!r}: expected floating point, got {str(tensor.dtype).removeprefix('torch.')}."
        )
    if not torch.isfinite(tensor.float()).all():
        raise InvalidRequest(f"Tensor {name!r}: expected finite numbers, got NaN or infinity.")
    return replace(intervention, value=tensor.float())
