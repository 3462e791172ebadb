"""R-hat and effective sample size against plain NumPy, and on chains whose values are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from workers.tuning.posterior.diagnostics import diagnose, effective_sample_size, split_rhat

Chains = npt.NDArray[np.float64]


def autoregressive(phi: float, *, n_chains: int = 4, n: int = 400, seed: int = 0) -> Chains:
    noise = np.random.default_rng(seed).normal(size=(n_chains, n))
    chains = np.zeros_like(noise)
    chains[:, 0] = noise[:, 0] / np.sqrt(1 - phi**2)
    for t in range(1, n):
        chains[:, t] = phi * chains[:, t - 1] + noise[:, t]
    return chains


def numpy_rhat(chains: Chains) -> float:
    half = chains.shape[1] // 2
    parts = np.concatenate([chains[:, :half], chains[:, -half:]])
    within = np.mean([np.var(part, ddof=1) for part in parts])
    between = half * np.var([part.mean() for part in parts], ddof=1)
    return float(np.sqrt(((half - 1) / half * within + between / half) / within))


def numpy_ess(chains: Chains) -> float:
    """Bayesian Data Analysis 3, (11.7) with variograms, and Geyer's sequence, in loops."""
    half = chains.shape[1] // 2
    parts = np.concatenate([chains[:, :half], chains[:, -half:]])
    within = np.mean([np.var(part, ddof=1) for part in parts])
    total = (half - 1) / half * within + np.var([part.mean() for part in parts], ddof=1)
    covariances = [
        np.mean([np.sum((p[t:] - p.mean()) * (p[: half - t] - p.mean())) / (half - 1) for p in parts])
        for t in range(half)
    ]
    rho = [1.0] + [1 - (within - covariance) / total for covariance in covariances[1:]]
    previous, tau = np.inf, -1.0
    for t in range(0, half - 1, 2):
        pair = rho[t] + rho[t + 1]
        if pair <= 0:
            break
        previous = min(previous, pair)
        tau += 2 * previous
    return float(parts.size / max(tau, 1 / np.log10(parts.size)))


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, -0.4])
def test_values_are_those_of_plain_numpy(phi: float) -> None:
    chains = np.stack([autoregressive(phi, seed=seed) for seed in (1, 2)], axis=-1)
    found = torch.from_numpy(chains)
    assert split_rhat(found).tolist() == pytest.approx([numpy_rhat(chains[..., i]) for i in (0, 1)], rel=1e-9)
    assert effective_sample_size(found).tolist() == pytest.approx([numpy_ess(chains[..., i]) for i in (0, 1)], rel=1e-6)


def test_the_effective_size_of_an_autoregressive_chain_is_known() -> None:
    """N (1 − φ) / (1 + φ) for an AR(1) process."""
    chains = torch.from_numpy(autoregressive(0.6, n=20_000))[..., None]
    assert float(effective_sample_size(chains)) == pytest.approx(80_000 * 0.4 / 1.6, rel=0.1)


def test_a_chain_that_is_elsewhere_is_found() -> None:
    chains = autoregressive(0.2)
    chains[2] += 5
    found = diagnose(torch.from_numpy(chains)[..., None])
    assert found is not None
    assert found.rhat > 1.1
    assert found.outlier == 2


def test_chains_of_one_law_have_no_outlier() -> None:
    found = diagnose(torch.from_numpy(autoregressive(0.2, n=2000))[..., None])
    assert found is not None
    assert found.rhat < 1.02
    assert found.outlier is None


def test_three_samples_are_too_few() -> None:
    assert diagnose(torch.zeros(2, 3, 1)) is None
