"""Base class of fitted priors: distributions over single vectors that can be sampled, and may have a density."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import torch

from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest

Facts = Mapping[str, float | str]
"""Facts of a fitted prior by name, such as the number of points, the shrinkage, and the acceptance rate."""


class NoDensity(InvalidRequest):
    """The prior can be sampled, but has no density that a penalty could use."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """The space of the vectors.

    n_virtual: vectors per prompt. layer: number of blocks below them (0: the input of the first block); None: the token
    embeddings. tensor: name of the prompt's tensor that they form; None: ``soft`` or ``deep.{layer}``.
    """

    d_model: int
    n_virtual: int
    layer: int | None = None
    tensor: str | None = None

    @property
    def tensor_name(self) -> str:
        """The tensor's name, whether it is given or not."""
        return self.tensor or ("soft" if self.layer is None else f"deep.{self.layer}")

    @property
    def place(self) -> str:
        """The layer in words, for errors."""
        return "the token embeddings" if self.layer is None else f"layer {self.layer}"


class Prior(ABC):
    """A fitted prior; immutable, so it can be shared.

    Attributes:
        name: its kind on the wire.
        facts: see :data:`Facts`; numbers are finite.
    """

    name: str
    facts: Facts

    @abstractmethod
    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        """``n`` vectors, float32 on the CPU. The first k of n equal ``sample(k)`` for the same seed."""

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        """Log-density of each vector in nats, float64, differentiable; −inf where the density is zero.

        Raises:
            NoDensity: the prior has none.
        """
        self._refuse_density("its draws have no density")

    def map_log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        """``log_prob`` as a penalty uses it: finite and with a gradient even where the density is zero.

        Raises:
            NoDensity: the prior has no density, or a flat one, whose gradient is zero.
        """
        return self.log_prob(vectors)

    def _refuse_density(self, why: str) -> NoReturn:
        raise NoDensity(f"the prior {self.name!r} cannot act as a penalty: {why}.", loc=("regularize", "weight"))
