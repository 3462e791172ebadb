"""What every prior is: a law over single vectors, which can be sampled, and often has a density."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import torch

from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest

Facts = Mapping[str, float | str]
"""What is worth knowing of a fitted prior, by name: how many points, how much shrinkage, what share is accepted."""


class NoDensity(InvalidRequest):
    """This prior can be drawn from, but has no density that a penalty could follow."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Where vectors go.

    n_virtual: how many a prompt has there. layer: the number of blocks below (0: the first block's input); None: the token
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
        """In words, for errors."""
        return "the token embeddings" if self.layer is None else f"layer {self.layer}"


class Prior(ABC):
    """A fitted prior; never changes, so it may be shared.

    Attributes:
        name: its kind on the wire.
        facts: see :data:`Facts`; numbers are finite.
    """

    name: str
    facts: Facts

    @abstractmethod
    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        """``n`` vectors, float32 on the CPU. The first k of n are the k that ``sample(k)`` gives for the same seed."""

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        """Log-density of each vector in nats, float64, differentiable; −inf where the density is zero.

        Raises:
            NoDensity: the prior has none.
        """
        self._refuse_density("its draws have no density")

    def map_log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        """``log_prob`` as a penalty follows it: finite, and with a slope, where the density itself is zero.

        Raises:
            NoDensity: the prior has no density, or a flat one, which pulls nowhere.
        """
        return self.log_prob(vectors)

    def _refuse_density(self, why: str) -> NoReturn:
        raise NoDensity(f"the prior {self.name!r} cannot act as a penalty: {why}.", loc=("regularize", "weight"))
