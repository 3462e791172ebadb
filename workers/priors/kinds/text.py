"""The ``text`` prior: states of a text's tokens at the layer of the vectors, repeated or cut to their number."""

from __future__ import annotations

import torch
from promptatlas.types.priors import TextPrior

from service.engine.shapes import Float, Tensor
from workers.priors.prior import Prior, Space
from workers.priors.sources.sources import Sources


class Text(Prior):
    """States of a text; the same vectors for every seed."""

    name = "text"

    def __init__(self, states: Float[Tensor, "tokens d_model"]) -> None:
        self._states = states
        self.facts = {"n_tokens": float(len(states))}

    @classmethod
    def fit(cls, spec: TextPrior, *, space: Space, sources: Sources) -> Text:
        return cls(sources.text_states(spec.text, layer=space.layer))

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        return self._states[torch.arange(n) % len(self._states)]

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        self._refuse_density("a text is points, not a density")
