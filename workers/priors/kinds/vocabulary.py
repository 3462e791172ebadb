"""The ``vocabulary`` prior: embeddings of tokens that are drawn uniformly, with replacement."""

from __future__ import annotations

import torch
from promptatlas.types.prior_sources import EmbeddingsSource
from promptatlas.types.priors import VocabularyPrior

from service.engine.shapes import Float, Tensor
from workers.priors.distributions.random_streams import choices
from workers.priors.prior import Prior, Space
from workers.priors.sources.sources import Sources


class Vocabulary(Prior):
    """Embeddings of the tokenizer's tokens; rows that pad the embedding matrix are left out."""

    name = "vocabulary"

    def __init__(self, embeddings: Float[Tensor, "tokens d_model"]) -> None:
        self._embeddings = embeddings
        self.facts = {"n_points": float(len(embeddings))}

    @classmethod
    def fit(cls, spec: VocabularyPrior, *, space: Space, sources: Sources) -> Vocabulary:
        return cls(sources.points(EmbeddingsSource(embeddings="vocabulary"), layer=space.layer))

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        return self._embeddings[choices(n, below=len(self._embeddings), generator=generator)]

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        self._refuse_density("it has tokens, not a density")
