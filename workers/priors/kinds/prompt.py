"""A tuned prompt's own vectors: tuning goes on from them."""

from __future__ import annotations

import torch
from promptatlas.types.priors import PromptPrior

from service.engine.prompts.prompt import Prompt
from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from workers.priors.prior import Prior, Space
from workers.priors.sources.sources import Sources


class Stored(Prior):
    """The same vectors for every seed, as many as there are."""

    name = "prompt"

    def __init__(self, vectors: Float[Tensor, "n_virtual d_model"], *, ref: str) -> None:
        self._vectors = vectors
        self._ref = ref
        self.facts = {"n_virtual": float(len(vectors))}

    @classmethod
    def fit(cls, spec: PromptPrior, *, space: Space, sources: Sources) -> Stored:
        return cls(vectors_at(sources.prompt(spec.ref), ref=spec.ref, space=space), ref=spec.ref)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        if n != len(self._vectors):
            raise InvalidRequest(
                f"prompt {self._ref!r} has {len(self._vectors)} vectors, {n} are asked for; ask for as many as it has.",
                loc=("prior", "ref"),
            )
        return self._vectors.clone()

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        self._refuse_density("a prompt is points, not a density")


def vectors_at(prompt: Prompt, *, ref: str, space: Space) -> Float[Tensor, "n_virtual d_model"]:
    """The vectors that a prompt has at a place; InvalidRequest, saying what it has, where it has none."""
    name = space.tensor_name
    if name not in prompt.tensors:
        has = f"layers {list(prompt.layers)}" if prompt.layers else "that kind's tensors"
        raise InvalidRequest(
            f"expected a prompt with vectors at {space.place}; {ref!r} is {prompt.kind}, with {has}.", loc=("prior",)
        )
    found = prompt.tensors[name]
    return found.reshape(-1, found.shape[-1])
