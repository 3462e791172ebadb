"""Diagnostics of chains: split R-hat and effective sample size (Gelman et al., Bayesian Data Analysis 3, sections 11.4-11.5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from service.engine.shapes import Float, Tensor

MAX_RHAT = 1.1
"""Chains with a larger R-hat have not reached one distribution (Bayesian Data Analysis, section 11.4)."""


@dataclass(frozen=True, kw_only=True)
class ChainDiagnostics:
    """Over all values of a prompt. rhat: largest. ess: smallest, in samples. outlier: index of a chain that does not mix."""

    rhat: float
    ess: float
    outlier: int | None


def diagnose(chains: Float[Tensor, "chains samples d"]) -> ChainDiagnostics | None:
    """Diagnostics of chains; None with fewer than 4 samples each, which split chains need."""
    if chains.shape[1] < 4:
        return None
    rhat = float(split_rhat(chains).max())
    ess = float(effective_sample_size(chains).min())
    return ChainDiagnostics(rhat=rhat, ess=ess, outlier=_outlier(chains) if rhat > MAX_RHAT else None)


def split_rhat(chains: Float[Tensor, "chains samples d"]) -> Float[Tensor, " d"]:
    """R-hat of each value: √(var⁺ / W), with each chain split into halves. Constant chains have 1."""
    halves = _split(chains.double())
    within, total = _variances(halves)
    return torch.where(within > 0, (total / within).sqrt(), torch.where(total > 0, torch.inf, 1.0))


def effective_sample_size(chains: Float[Tensor, "chains samples d"]) -> Float[Tensor, " d"]:
    """m n / (1 + 2 Σ ρ_t) of each value, with m split chains of n samples.

    ρ_t = 1 − (W − mean autocovariance at lag t) / var⁺; the sum ends before the first pair of lags whose sum is negative, and
    the pairs do not increase (Geyer 1992; Stan reference manual, section 15.4).
    """
    halves = _split(chains.double())
    m, n, _ = halves.shape
    within, total = _variances(halves)
    centred = halves - halves.mean(1, keepdim=True)
    spectrum = torch.fft.rfft(centred, n=2 * n, dim=1)
    covariance = torch.fft.irfft(spectrum * spectrum.conj(), n=2 * n, dim=1)[:, :n].mean(0) / n
    # The autocovariance at lag 0 has the factor 1/n; W has 1/(n − 1).
    rho = 1 - (within - covariance * n / (n - 1)) / total
    rho[0] = 1
    pairs = rho[: n - n % 2].view(-1, 2, rho.shape[1]).sum(1)
    kept = (pairs > 0).cumprod(0).bool()
    pairs = torch.where(kept, pairs.cummin(0).values, 0.0)
    tau = (2 * pairs.sum(0) - 1).clamp_min(1 / torch.tensor(m * n).log10())
    return torch.where(total > 0, m * n / tau, float(m * n))


def _split(chains: Tensor) -> Tensor:
    n = chains.shape[1] // 2
    return torch.cat([chains[:, :n], chains[:, -n:]])


def _variances(chains: Tensor) -> tuple[Tensor, Tensor]:
    """W, the mean variance of the chains, and var⁺ = (n − 1)/n W + B/n."""
    n = chains.shape[1]
    within = chains.var(1).mean(0)
    return within, (n - 1) / n * within + chains.mean(1).var(0)


def _outlier(chains: Tensor) -> int | None:
    """The chain whose mean is farthest from the mean of the others, in units of the mean spread of the chains."""
    if len(chains) < 2:
        return None
    means = chains.double().mean(1)
    spread = chains.double().var(1).mean(0).sqrt().clamp_min(1e-12)
    others = (means.sum(0) - means) / (len(means) - 1)
    return int(((means - others) / spread).norm(dim=1).argmax())
