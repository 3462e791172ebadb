"""Low-rank Laplace approximation: a normal distribution whose precision is the curvature at a mode (MacKay 1992).

With the prior's precision τ (one number a tensor) and the curvature H of the loss, the covariance is (τ + H)⁻¹. H is kept in
its ``rank`` largest directions after whitening, H̃ = τ^(−1/2) H τ^(−1/2) ≈ U diag(s) Uᵀ. ``service.store.prompts.normal`` has
the stored form of the distribution, and draws from it. Curvature is measured by differences of gradients, so that products with
many directions are one forward and backward of fused members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from service.store.prompts.normal import CURVATURES, DIRECTIONS, MEAN, STD

Gradients = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n d"]]
"""Gradients of a function at each of n points."""

RELATIVE_STEP = 1e-2
N_ITERATIONS = 4


@dataclass(frozen=True, kw_only=True)
class LowRankNormal:
    """A normal distribution. mean `[d]`; std `[d]`: of the prior's precision; directions `[rank, d]`, orthonormal after
    whitening by ``std``; curvatures `[rank]`: s ≥ 0 of those directions.
    """

    mean: Tensor
    std: Tensor
    directions: Tensor
    curvatures: Tensor

    def stored(self, *, like: Mapping[str, Tensor], temperature: float) -> dict[str, npt.NDArray[np.float32]]:
        """The distribution to the power 1 / ``temperature`` in the stored form. like: a prompt, for names and shapes."""
        names = sorted(like)
        sizes = [like[name].numel() for name in names]
        parts = zip(names, *(torch.split(t, sizes, -1) for t in (self.mean, self.std, self.directions)), strict=True)
        found = {CURVATURES: self.curvatures}
        for name, mean, std, directions in parts:
            shape = like[name].shape
            found[MEAN + name] = mean.view(shape)
            found[STD + name] = temperature**0.5 * std[:1]
            found[DIRECTIONS + name] = directions.reshape(-1, *shape)
        return {name: tensor.float().numpy() for name, tensor in found.items()}


def fit_laplace(
    mode: Float[Tensor, " d"],
    *,
    loss: Gradients,
    log_prior: Gradients,
    sizes: Mapping[str, int],
    rank: int,
    generator: torch.Generator,
) -> LowRankNormal:
    """The distribution at ``mode``.

    Args:
        loss: gradients of the negative log-likelihood of all data.
        log_prior: gradients of the log density of the prior.
        sizes: number of values of each tensor, in order; each has one prior precision, its mean curvature along a random
            direction, which is exact for isotropic priors.

    Raises:
        InvalidRequest: the prior's log density is not concave at the mode.
    """
    mode = mode.double()
    std = torch.cat(
        [
            torch.full(
                (size,), _prior_std(mode, log_prior=log_prior, begin=begin, size=size, name=name, generator=generator)
            )
            for name, begin, size in _slices(sizes)
        ]
    ).double()
    rank = min(rank, len(mode))
    basis = torch.linalg.qr(torch.randn(len(mode), rank, generator=generator, dtype=torch.float64)).Q
    for _ in range(N_ITERATIONS):
        product = _whitened_products(basis.T, mode=mode, std=std, loss=loss).T
        basis = torch.linalg.qr(product).Q
    projected = basis.T @ _whitened_products(basis.T, mode=mode, std=std, loss=loss).T
    values, vectors = torch.linalg.eigh((projected + projected.T) / 2)
    return LowRankNormal(
        mean=mode, std=std, directions=(basis @ vectors).T.contiguous(), curvatures=values.clamp_min(0.0)
    )


def _whitened_products(directions: Tensor, *, mode: Tensor, std: Tensor, loss: Gradients) -> Tensor:
    """std ∘ H (std ∘ v) of each direction v, by central differences, exact for quadratic losses."""
    steps = std * directions
    scale = RELATIVE_STEP * mode.norm().clamp_min(1.0) / steps.norm(dim=1, keepdim=True).clamp_min(1e-30)
    points = torch.cat([mode + scale * steps, mode - scale * steps])
    above, below = loss(points.float()).double().chunk(2)
    product: Tensor = std * (above - below) / (2 * scale)
    return product


def _prior_std(
    mode: Tensor, *, log_prior: Gradients, begin: int, size: int, name: str, generator: torch.Generator
) -> float:
    direction = torch.zeros_like(mode)
    direction[begin : begin + size] = torch.randn(size, generator=generator, dtype=torch.float64)
    direction /= direction.norm()
    step = RELATIVE_STEP * mode.norm().clamp_min(1.0)
    above, below = log_prior(torch.stack([mode + step * direction, mode - step * direction]).float()).double()
    precision = float(-(above - below) @ direction / (2 * step))
    if not precision > 0:
        raise InvalidRequest(
            f"A Laplace approximation needs a prior whose log density is concave at the prompt; the curvature of {name} is "
            f"{precision:.3g}, expected a positive one.",
            loc=("posterior", "method"),
        )
    return float(precision**-0.5)


def _slices(sizes: Mapping[str, int]) -> list[tuple[str, int, int]]:
    found, begin = [], 0
    for name, size in sizes.items():
        found.append((name, begin, size))
        begin += size
    return found
