"""SVGD against the formula by automatic differentiation, and on known distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.spatial
import scipy.stats
import torch
from torch import Tensor

from workers.tuning.samplers.svgd import steer, stein_direction


def expected_direction(particles: Tensor, scores: Tensor, *, repulsion: float) -> Tensor:
    """The sum of the paper, term by term, with the gradient of the kernel by autograd."""
    n = len(particles)
    distances = scipy.spatial.distance.pdist(particles.numpy())
    bandwidth = float(np.median(distances)) ** 2 / math.log(n)
    found = torch.zeros_like(particles)
    for i in range(n):
        for j in range(n):
            other = particles[j].clone().requires_grad_()
            kernel = (-(other - particles[i]).square().sum() / bandwidth).exp()
            (gradient,) = torch.autograd.grad(kernel, other)
            found[i] += kernel.detach() * scores[j] + repulsion * gradient
    return found / n


@pytest.mark.parametrize(("n", "d", "repulsion"), [(2, 3, 1.0), (5, 7, 0.3), (6, 1, 1.0)])
def test_the_direction_is_that_of_the_paper(n: int, d: int, repulsion: float) -> None:
    generator = torch.Generator().manual_seed(n)
    particles = torch.randn(n, d, generator=generator, dtype=torch.float64)
    scores = torch.randn(n, d, generator=generator, dtype=torch.float64)
    found = stein_direction(particles, scores, repulsion=repulsion)
    torch.testing.assert_close(found, expected_direction(particles, scores, repulsion=repulsion), rtol=1e-9, atol=1e-9)


def test_one_particle_follows_its_score() -> None:
    scores = torch.tensor([[1.0, -2.0]])
    assert stein_direction(torch.zeros(1, 2), scores).tolist() == scores.tolist()


def test_each_tensor_has_its_own_kernel() -> None:
    generator = torch.Generator().manual_seed(3)
    leaves = [
        {name: torch.randn(2, 3, generator=generator).requires_grad_() for name in ("deep.0", "deep.1")}
        for _ in range(4)
    ]
    gradients = [{name: torch.randn(2, 3, generator=generator) for name in particle} for particle in leaves]
    for particle, own in zip(leaves, gradients, strict=True):
        for name, leaf in particle.items():
            leaf.grad = own[name].clone()
    steer(leaves, repulsion=0.5)
    for name in leaves[0]:
        points = torch.stack([particle[name].detach().flatten() for particle in leaves]).double()
        scores = -torch.stack([own[name].flatten() for own in gradients]).double()
        expected = expected_direction(points, scores, repulsion=0.5)
        for particle, direction in zip(leaves, expected, strict=True):
            gradient = particle[name].grad
            assert gradient is not None
            torch.testing.assert_close(-gradient.flatten().double(), direction, rtol=1e-4, atol=1e-5)


def run(particles: Tensor, *, score: object, n_steps: int, lr: float) -> Tensor:
    assert callable(score)
    adam = torch.optim.Adam([particles], lr=lr)
    for step in range(n_steps):
        for group in adam.param_groups:
            group["lr"] = lr * (1 - step / n_steps)
        particles.grad = -stein_direction(particles, score(particles))
        adam.step()
    return particles


def test_particles_have_the_law_of_a_quadratic_loss() -> None:
    """The posterior of a quadratic loss is normal: moments and, in one dimension, the Kolmogorov-Smirnov statistic."""
    generator = torch.Generator().manual_seed(0)
    particles = 3 * torch.randn(100, 1, generator=generator, dtype=torch.float64)
    found = run(particles, score=lambda x: -(x - 2.0) / 0.25, n_steps=1500, lr=0.05)[:, 0].numpy()
    assert found.mean() == pytest.approx(2.0, abs=0.02)
    assert found.std() == pytest.approx(0.5, rel=0.1)
    assert scipy.stats.kstest(found, scipy.stats.norm(2.0, 0.5).cdf).statistic < 0.06


def test_particles_find_both_modes_of_a_bimodal_law() -> None:
    """The mixture of N(-2, 1) and N(2, 1) with weights 1/3 and 2/3, Liu and Wang's example."""
    weights, means = torch.tensor([1 / 3, 2 / 3]).double(), torch.tensor([-2.0, 2.0]).double()

    def score(x: Tensor) -> Tensor:
        log = weights.log() - (x - means).square() / 2
        return (log.softmax(-1) * (means - x)).sum(-1, keepdim=True)

    generator = torch.Generator().manual_seed(1)
    start = torch.randn(100, 1, generator=generator, dtype=torch.float64) - 10
    found = run(start, score=score, n_steps=2500, lr=0.1)[:, 0].numpy()
    assert float((found < 0).mean()) == pytest.approx(1 / 3, abs=0.08)
    assert found.mean() == pytest.approx(2 / 3, abs=0.35)
    assert (found**2).mean() == pytest.approx(5.0, rel=0.15)
