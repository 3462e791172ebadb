"""Langevin chains on known distributions, and their exact resumption."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch import Tensor

from workers.tuning.samplers.langevin import LangevinOptimizer, Preconditioner

N = 50
"""Number of observations: the gradients are divided by it."""


PSGLD = Preconditioner()


def chain(leaf: Tensor, *, lr: float, seed: int = 0, preconditioner: Preconditioner | None = None) -> LangevinOptimizer:
    return LangevinOptimizer(
        {"soft": leaf},
        lr=lr,
        schedule=lambda step: 1.0,
        seed=seed,
        noise=1 / N,
        preconditioner=preconditioner,
    )


def advance(optimizer: LangevinOptimizer, leaf: Tensor, *, gradient: Tensor) -> None:
    leaf.grad = gradient / N
    optimizer.update(rate=optimizer.rate(0, scale=1.0), norm=optimizer.gradient_norm())


@pytest.mark.parametrize("is_preconditioned", [False, True])
def test_a_chain_has_the_law_of_a_quadratic_loss(is_preconditioned: bool) -> None:
    """N(mean, std²) in 200 dimensions at once, each an independent chain; plain SGLD at a small step has no bias."""
    mean, std = 1.5, 0.4
    leaf = torch.zeros(200, requires_grad=True)
    lr = (0.002 if is_preconditioned else 0.02) * N * std**2
    optimizer = chain(leaf, lr=lr, preconditioner=PSGLD if is_preconditioned else None)
    samples = []
    for step in range(1200):
        advance(optimizer, leaf, gradient=(leaf.detach() - mean) / std**2)
        if step >= 600 and step % 150 == 149:
            samples.append(leaf.detach().clone())
    values = torch.cat(samples).numpy()
    assert values.mean() == pytest.approx(mean, abs=0.06)
    if not is_preconditioned:
        assert values.std() == pytest.approx(std, rel=0.08)
        assert scipy.stats.kstest(values, scipy.stats.norm(mean, std).cdf).pvalue > 0.001


def test_an_update_is_that_of_welling_and_teh() -> None:
    """The drift of one step, and the variance of its noise 2 ε T / N."""
    leaf = torch.zeros(40_000, requires_grad=True)
    optimizer = chain(leaf, lr=0.3)
    advance(optimizer, leaf, gradient=torch.full_like(leaf, 7.0))
    moved = leaf.detach().double()
    assert float(moved.mean()) == pytest.approx(-0.3 * 7.0 / N, abs=0.002)
    assert float(moved.var()) == pytest.approx(2 * 0.3 / N, rel=0.03)


def test_a_resumed_chain_continues_bitwise() -> None:
    def run(leaf: Tensor, optimizer: LangevinOptimizer, n: int) -> None:
        for _ in range(n):
            advance(optimizer, leaf, gradient=leaf.detach() - 1)

    whole = torch.zeros(11, requires_grad=True)
    first = chain(whole, lr=0.1, seed=5, preconditioner=PSGLD)
    run(whole, first, 6)
    saved = {name: tensor.clone() for name, tensor in first.tensors().items()}
    run(whole, first, 5)
    resumed = torch.ones(11, requires_grad=True)
    second = chain(resumed, lr=0.1, seed=5, preconditioner=PSGLD)
    second.load(saved)
    run(resumed, second, 5)
    assert torch.equal(whole, resumed)


def test_chains_of_different_seeds_differ() -> None:
    one, other = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    advance(chain(one, lr=0.1, seed=1), one, gradient=torch.zeros(3))
    advance(chain(other, lr=0.1, seed=2), other, gradient=torch.zeros(3))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("has_gamma", [False, True])
def test_gamma_corrects_a_preconditioner_that_depends_on_the_position(has_gamma: bool) -> None:
    """N(0, 1) in 400 independent dimensions, with α = 0 and λ near the typical gradient, so that G = 1 / (λ + |θ| / N).

    By the Fokker–Planck equation, the chain without Γ has the density N(θ; 0, 1) / G; with Γ it has N(θ; 0, 1).
    """
    damping, lr = 0.5 / N, 0.02
    leaf = torch.randn(400, generator=torch.Generator().manual_seed(3)).requires_grad_()
    preconditioner = Preconditioner(decay=0.0, damping=damping, has_gamma=has_gamma)
    optimizer = chain(leaf, lr=lr, preconditioner=preconditioner)
    optimizer.curvature = {"soft": torch.full((400,), 1 / N)}
    samples = []
    for step in range(4000):
        advance(optimizer, leaf, gradient=leaf.detach())
        if step >= 400 and step % 100 == 99:
            samples.append(leaf.detach().clone())
    values = torch.cat(samples).double().numpy()
    laws = {True: scipy.stats.norm().cdf, False: weighted_cdf(damping * N)}
    fits = {law: scipy.stats.kstest(values, cdf).statistic for law, cdf in laws.items()}
    # 14,400 dependent values; the two laws differ by 0.06.
    assert fits[has_gamma] < 0.02
    assert fits[not has_gamma] > 0.04


def weighted_cdf(offset: float) -> Callable[[np.ndarray], np.ndarray]:
    """The distribution function of the density (offset + |x|) exp(−x² / 2), by numerical integration."""
    grid = np.linspace(-8, 8, 20_001)
    density = (offset + np.abs(grid)) * np.exp(-(grid**2) / 2)
    cdf = scipy.integrate.cumulative_simpson(density, x=grid, initial=0)
    return lambda x: np.interp(x, grid, cdf / cdf[-1])


def test_with_its_usual_decay_gamma_is_small() -> None:
    """Why published practice leaves it out: at α = 0.99 the drift of one step changes by about a hundredth of that at α = 0."""
    changes = {}
    for decay in (0.0, 0.99):
        moved = []
        for has_gamma in (False, True):
            leaf = torch.full((50,), 0.7, requires_grad=True)
            preconditioner = Preconditioner(decay=decay, damping=0.5 / N, has_gamma=has_gamma)
            optimizer = chain(leaf, lr=0.01, preconditioner=preconditioner)
            # As after many steps with this gradient.
            squares = {**optimizer.tensors(), "square/soft": torch.full((50,), (0.7 / N) ** 2)}
            optimizer.load({name: tensor.clone() for name, tensor in squares.items()})
            optimizer.curvature = {"soft": torch.full((50,), 1 / N)}
            advance(optimizer, leaf, gradient=leaf.detach())
            moved.append(leaf.detach().double())
        changes[decay] = float((moved[1] - moved[0]).abs().mean())
    assert changes[0.99] == pytest.approx(changes[0.0] / 100, rel=0.01)
