"""Densities of a prompt's vectors under the prior that its draw was sampled from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from promptatlas.types.forms import FORMS, PromptKind
from promptatlas.types.priors import Prior
from pydantic import TypeAdapter

from workers.priors import prior as priors
from workers.priors.kinds.registry import build_prior
from workers.priors.prior import NoDensity, Space
from workers.priors.sources.sources import Sources
from workers.reports.evidence.evidence import Floats, TunedPrompt

_PRIOR: TypeAdapter[Prior] = TypeAdapter(Prior)


class Densities:
    """Computes densities of prompts; each prior is fitted once per layer."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._fitted: dict[tuple[str, Space], priors.Prior] = {}

    def of(self, prompt: TunedPrompt, *, prior: Mapping[str, Any] | None) -> TunedPrompt:
        """Add ``log_density`` of draw and posterior, in nats per vector, mean over vectors and layers.

        The prompt is unchanged if its prior is unknown or has no density, or if its draw was not kept.

        Raises:
            AtlasError: The prior can no longer be fitted.
        """
        if not prior or not prompt.vectors or not prompt.draw:
            return prompt
        found: dict[str, list[float]] = {"log_density": [], "draw_log_density": []}
        kind = cast(PromptKind, prompt.method.split()[0])
        for layer, vectors in prompt.vectors.items():
            form = FORMS[kind]
            own = form.layer_with_state(layer)
            space = Space(
                d_model=vectors.shape[1],
                n_virtual=len(vectors),
                layer=None if own is None else layer,
                tensor=form.tensor_name(own),
            )
            fitted = self._fit(prior, space)
            try:
                found["log_density"] += fitted.log_prob(_tensor(vectors)).tolist()
                found["draw_log_density"] += fitted.log_prob(_tensor(prompt.draw[layer])).tolist()
            except NoDensity:
                return prompt
        return replace(prompt, log_density={name: float(np.mean(values)) for name, values in found.items()})

    def _fit(self, prior: Mapping[str, Any], space: Space) -> priors.Prior:
        key = (json.dumps(dict(prior), sort_keys=True), space)
        if key not in self._fitted:
            # Priors are stored as the JSON of the completed request.
            self._fitted[key] = build_prior(_PRIOR.validate_json(key[0]), space=space, sources=self._sources)
        return self._fitted[key]


def _tensor(vectors: Floats) -> torch.Tensor:
    return torch.from_numpy(np.array(vectors, dtype=np.float32))
