"""``reduce: {"project": map}``: rows are projected where they are read, by the basis of a linear map."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from promptatlas.types import CaptureFields, ProjectReduction

from service.api.services import Services
from service.engine.requests import Projection

LOC = ("reduce", "project")


async def projection_of(services: Services, asked: CaptureFields, *, card: Mapping[str, Any]) -> Projection | None:
    """The projection that a request asks for, as arrays of numpy; None when it asks for none.

    Args:
        card: of the model.

    Raises:
        NotFound: there is no such map.
        InvalidRequest: it is not linear, or it is not clear which of its layers is meant.
    """
    if not isinstance(asked.reduce, ProjectReduction):
        return None
    layers = None if isinstance(asked.layers, str) else [_counted(layer, card["n_layers"]) for layer in asked.layers]
    basis = await asyncio.to_thread(services.maps.linear_basis, asked.reduce.project, layers=layers, loc=LOC)
    # The engine process makes tensors of them.
    return Projection(mean=cast(Any, basis.mean), components=cast(Any, basis.components))


def _counted(layer: int, n_layers: int) -> int:
    return layer + n_layers if layer < 0 else layer
