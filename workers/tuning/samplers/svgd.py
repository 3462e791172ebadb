"""Stein variational gradient descent (Liu and Wang 2016, "Stein Variational Gradient Descent", algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from service.engine.shapes import Float, Tensor


def stein_direction(
    particles: Float[Tensor, "n d"], scores: Float[Tensor, "n d"], *, repulsion: float = 1.0
) -> Float[Tensor, "n d"]:
    """The direction φ(x_i) = (1/n) Σ_j [k(x_j, x_i) s_j + c ∇_{x_j} k(x_j, x_i)] of each particle.

    k is exp(−‖x − y‖² / h). The bandwidth h is med² / log n, with the median of the distances between different particles;
    if it is 0, or there is one particle, k is constant and φ is the mean score.

    Args:
        scores: s_j, gradients of the log density.
        repulsion: c, the factor of the second term; 1 for scores of the density itself.
    """
    n = len(particles)
    squared = torch.cdist(particles, particles, compute_mode="donot_use_mm_for_euclid_dist").square()
    bandwidth = _bandwidth(squared)
    if bandwidth == 0.0:
        return scores.mean(0, keepdim=True).expand_as(scores).clone()
    kernel = (-squared / bandwidth).exp()
    # Σ_j ∇_{x_j} k(x_j, x_i) = (2/h) Σ_j k_ij (x_i − x_j)
    repelled = (2.0 / bandwidth) * (kernel.sum(1, keepdim=True) * particles - kernel @ particles)
    return (kernel @ scores + repulsion * repelled) / n


def steer(leaves: Sequence[Mapping[str, Tensor]], *, repulsion: float) -> None:
    """Replace the gradients of the particles by −φ; each tensor (layer) has its own kernel and bandwidth.

    Args:
        leaves: of each particle, by name, with gradients of the loss −log p / N.
        repulsion: T / N for the target p^(1/T) and gradients that are divided by N.
    """
    with torch.no_grad():
        for name in leaves[0]:
            tensors = [particle[name] for particle in leaves]
            gradients = [torch.zeros_like(t) if t.grad is None else t.grad for t in tensors]
            points = torch.stack([tensor.detach().flatten() for tensor in tensors])
            scores = -torch.stack([gradient.flatten() for gradient in gradients])
            for tensor, direction in zip(tensors, stein_direction(points, scores, repulsion=repulsion), strict=True):
                tensor.grad = -direction.view_as(tensor)


def _bandwidth(squared: Float[Tensor, "n n"]) -> float:
    n = len(squared)
    if n < 2:
        return 0.0
    rows, columns = torch.triu_indices(n, n, offset=1)
    # The median of an even number of distances is the mean of the two in the middle, as in NumPy.
    median = float(squared[rows, columns].sqrt().double().quantile(0.5))
    return median**2 / math.log(n)
