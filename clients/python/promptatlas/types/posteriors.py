"""Methods that make a posterior, a distribution over prompts, of the members of a ``tune`` run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from promptatlas.types.wire import RequestBody

_Temperature = Annotated[float, Field(gt=0, le=100)]


class EnsemblePosterior(RequestBody):
    """The tuned members themselves (deep ensembles, Lakshminarayanan et al. 2017)."""

    method: Literal["ensemble"] = "ensemble"


class SvgdPosterior(RequestBody):
    """Stein variational gradient descent (Liu and Wang 2016). The seeds are the particles.

    temperature: T of the target p(prompt | data)^(1/T).
    """

    method: Literal["svgd"] = "svgd"
    temperature: _Temperature = 1.0


class SgldPosterior(RequestBody):
    """Stochastic gradient Langevin dynamics (Welling and Teh 2011). The seeds are the chains.

    burn_in: steps before the first sample; None: half of the steps. thin: steps between samples. preconditioned: divide by
    the root of the mean squared gradient (pSGLD, Li et al. 2016). decay, damping: α and λ of pSGLD. gamma: add the term Γ of
    pSGLD, for two more gradients a step; published practice leaves it out. temperature: as for SVGD.
    """

    method: Literal["sgld"] = "sgld"
    burn_in: int | None = Field(default=None, ge=0)
    thin: int = Field(default=10, ge=1)
    preconditioned: bool = False
    decay: float = Field(default=0.99, ge=0, lt=1)
    damping: float = Field(default=1e-5, gt=0, le=1e6)
    gamma: bool = False
    temperature: _Temperature = 1.0


class LaplacePosterior(RequestBody):
    """A normal distribution around the best member (MacKay 1992), with the ``rank`` largest curvatures of the loss.

    The mean and factors are stored. draws: number of draws that are evaluated, and that an ensemble averages by default.
    n_examples: training examples that the curvature is measured on. seed: of the draws.
    """

    method: Literal["laplace"] = "laplace"
    rank: int = Field(default=8, ge=1, le=256)
    draws: int = Field(default=16, ge=1, le=1024)
    n_examples: int = Field(default=256, ge=1)
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    temperature: _Temperature = 1.0


PosteriorMethod = Annotated[
    EnsemblePosterior | SvgdPosterior | SgldPosterior | LaplacePosterior, Field(discriminator="method")
]
