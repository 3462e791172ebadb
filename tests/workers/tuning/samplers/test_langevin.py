"""Langevin chains on known distributions, and their exact resumption."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from torch import Tensor

from workers.tuning.samplers.langevin import LangevinOptimizer

N = 50
"""Number of observations: the gradients are divided by it."""


def chain(leaf: Tensor, *, lr: float, seed: int = 0, is_preconditioned: bool = False) -> LangevinOptimizer:
    return LangevinOptimizer(
        {"soft": leaf},
        lr=lr,
        schedule=lambda step: 1.0,
        seed=seed,
        noise=1 / N,
        is_preconditioned=is_preconditioned,
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
    optimizer = chain(leaf, lr=lr, is_preconditioned=is_preconditioned)
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
    first = chain(whole, lr=0.1, seed=5, is_preconditioned=True)
    run(whole, first, 6)
    saved = {name: tensor.clone() for name, tensor in first.tensors().items()}
    run(whole, first, 5)
    resumed = torch.ones(11, requires_grad=True)
    second = chain(resumed, lr=0.1, seed=5, is_preconditioned=True)
    second.load(saved)
    run(resumed, second, 5)
    assert torch.equal(whole, resumed)


def test_chains_of_different_seeds_differ() -> None:
    one, other = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    advance(chain(one, lr=0.1, seed=1), one, gradient=torch.zeros(3))
    advance(chain(other, lr=0.1, seed=2), other, gradient=torch.zeros(3))
    assert not torch.equal(one, other)
