"""How likely a prompt's vectors are under the prior that its draw came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from promptatlas.types.priors import Prior
from pydantic import TypeAdapter

from workers.priors.prior import NoDensity, Space
from workers.priors.registry import build_prior
from workers.priors.sources import Sources
from workers.reports.evidence import Floats, Tuned

_PRIOR: TypeAdapter[Prior] = TypeAdapter(Prior)


def with_densities(prompt: Tuned, *, prior: Mapping[str, Any] | None, sources: Sources) -> Tuned:
    """The prompt with ``log_density``: of draw and posterior, nats a vector, mean over vectors and layers.

    Unchanged where the prior is unknown or has no density, or there is no draw to compare with.

    Raises:
        AtlasError: the prior cannot be fitted any more.
    """
    if not prior or not prompt.vectors or not prompt.draw:
        return prompt
    # What is stored is what the request was completed to, lists and all, so it is read as JSON is.
    spec = _PRIOR.validate_python(dict(prior))
    found: dict[str, list[float]] = {"log_density": [], "draw_log_density": []}
    for layer, vectors in prompt.vectors.items():
        space = Space(
            d_model=vectors.shape[1], n_virtual=len(vectors), layer=None if prompt.method == "soft" else layer
        )
        fitted = build_prior(spec, space=space, sources=sources)
        try:
            found["log_density"] += fitted.log_prob(_tensor(vectors)).tolist()
            found["draw_log_density"] += fitted.log_prob(_tensor(prompt.draw[layer])).tolist()
        except NoDensity:
            return prompt
    return replace(prompt, log_density={name: float(np.mean(values)) for name, values in found.items()})


def _tensor(vectors: Floats) -> torch.Tensor:
    return torch.from_numpy(np.array(vectors, dtype=np.float32))
