"""Bootstrap intervals of means and other statistics, and effect sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from service.measures.arrays import Floats

CONFIDENCE = 0.95

_BATCH_VALUES = 4_000_000
"""Resampled values held in memory at a time; the batch size does not change the numbers."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A statistic and its bootstrap interval; ``low`` and ``high`` equal ``value`` when all values are equal."""

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float]:
        """All fields as plain numbers."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def bootstrap_interval(
    values: npt.ArrayLike,
    *,
    statistic: Callable[..., Any] = np.mean,
    samples: int = 999,
    seed: int = 0,
    method: str = "percentile",
) -> Interval:
    """95 % bootstrap interval (Efron 1979) of a statistic of independent values `[n]`.

    Args:
        statistic: Takes ``axis=``.
        samples: Number of resamples.
        method: As in ``scipy.stats.bootstrap``: percentile, basic or BCa.

    Raises:
        ValueError: There are no values.
    """
    given: Floats = np.asarray(values, dtype=np.float64).ravel()
    if len(given) == 0:
        raise ValueError("expected at least one value, got none")
    value = float(statistic(given, axis=-1))
    if len(given) == 1 or np.ptp(given) == 0:
        return Interval(value=value, low=value, high=value, n=len(given))
    low, high = _bootstrap((given,), statistic, samples=samples, seed=seed, confidence=CONFIDENCE, method=method)
    return Interval(value=value, low=low, high=high, n=len(given))


def mean_interval(
    values: Sequence[float] | Floats,
    *,
    samples: int,
    seed: int,
    confidence: float = CONFIDENCE,
    weights: Sequence[float] | Floats | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean, weighted or not, as (low, high).

    Args:
        values: One finite number per example, at least one.
        samples: Number of resamples.
        confidence: Share of the resampled means inside the interval, between 0 and 1.
        weights: One positive weight per example; the mean is Σ w·v / Σ w, and pairs (w, v) are resampled together.

    Raises:
        ValueError: There are no values, or not one weight per value.
    """
    given: Floats = np.asarray(values, dtype=np.float64)
    if given.size == 0:
        raise ValueError("expected at least one value, got none")
    if weights is not None and np.shape(weights) != given.shape:
        raise ValueError(f"expected {given.size} weights, one per value, got {np.size(weights)}")
    if np.all(given == given[0]):
        return float(given[0]), float(given[0])
    if weights is None:
        return _bootstrap((given,), np.mean, samples=samples, seed=seed, confidence=confidence)
    shares: Floats = np.asarray(weights, dtype=np.float64)
    return _bootstrap((given * shares, shares), _ratio_of_sums, samples=samples, seed=seed, confidence=confidence)


def ratio_of_means(
    numerator: npt.ArrayLike, denominator: npt.ArrayLike, *, samples: int = 999, seed: int = 0
) -> Interval:
    """mean(numerator) / mean(denominator) of two independent samples with a percentile interval; both are resampled."""
    top, bottom = (np.asarray(values, dtype=np.float64).ravel() for values in (numerator, denominator))
    if len(top) == 0 or len(bottom) == 0:
        raise ValueError(f"expected at least one value in each sample, got {len(top)} and {len(bottom)}")
    rng = np.random.default_rng(seed)
    ratios = _resampled_means(top, samples=samples, rng=rng) / _resampled_means(bottom, samples=samples, rng=rng)
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value=float(top.mean() / bottom.mean()), low=float(low), high=float(high), n=len(top))


def cohens_d(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """(mean first − mean second) / pooled standard deviation (Cohen 1988); 0 if the means and all values are equal."""
    a, b = (np.asarray(values, dtype=np.float64).ravel() for values in (first, second))
    if len(a) < 2 or len(b) < 2:
        raise ValueError(f"expected at least two values in each sample, got {len(a)} and {len(b)}")
    pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2)
    difference = float(a.mean() - b.mean())
    if pooled == 0:
        return 0.0 if difference == 0 else float(np.copysign(np.inf, difference))
    return difference / float(np.sqrt(pooled))


def _bootstrap(
    data: tuple[Floats, ...],
    statistic: Callable[..., Any],
    *,
    samples: int,
    seed: int,
    confidence: float,
    method: str = "percentile",
) -> tuple[float, float]:
    found = stats.bootstrap(
        data,
        statistic,
        paired=len(data) > 1,
        vectorized=True,
        n_resamples=samples,
        batch=max(1, _BATCH_VALUES // data[0].size),
        confidence_level=confidence,
        method=method,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _ratio_of_sums(numerator: Floats, denominator: Floats, axis: int = -1) -> Floats:
    quotient: Floats = numerator.sum(axis=axis) / denominator.sum(axis=axis)
    return quotient


def _resampled_means(values: Floats, *, samples: int, rng: np.random.Generator) -> Floats:
    # A mean depends only on how often each value is drawn.
    counts = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=samples)
    means: Floats = counts @ values / len(values)
    return means
