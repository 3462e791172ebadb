"""Bootstrap intervals of means and of other statistics of independent values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A statistic and its bootstrap interval; ``low`` and ``high`` equal ``value`` where nothing varies."""

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float]:
        """As an object of plain numbers."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def interval_of(
    values: npt.ArrayLike,
    *,
    statistic: Callable[..., Any] = np.mean,
    samples: int = 999,
    seed: int = 0,
    method: str = "percentile",
) -> Interval:
    """The 95 % bootstrap interval (Efron 1979) of a statistic of independent values `[n]`.

    Args:
        statistic: takes ``axis=``. method: as of ``scipy.stats.bootstrap``: percentile, basic or BCa.
    """
    given: npt.NDArray[np.float64] = np.asarray(values, dtype=np.float64).ravel()
    if len(given) == 0:
        raise ValueError("expected at least one value")
    value = float(statistic(given, axis=-1))
    if len(given) == 1 or np.ptp(given) == 0:
        return Interval(value=value, low=value, high=value, n=len(given))
    found = stats.bootstrap(
        (given,),
        statistic,
        n_resamples=samples,
        confidence_level=CONFIDENCE,
        method=method,
        vectorized=True,
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(value=value, low=float(found.low), high=float(found.high), n=len(given))


def ratio_of_means(above: npt.ArrayLike, below: npt.ArrayLike, *, samples: int = 999, seed: int = 0) -> Interval:
    """mean(above) / mean(below) of two independent samples, with its percentile interval; both are resampled."""
    top, bottom = (np.asarray(values, dtype=np.float64).ravel() for values in (above, below))
    if len(top) == 0 or len(bottom) == 0:
        raise ValueError("expected at least one value above and one below")
    rng = np.random.default_rng(seed)
    ratios = _resampled_means(top, samples=samples, rng=rng) / _resampled_means(bottom, samples=samples, rng=rng)
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value=float(top.mean() / bottom.mean()), low=float(low), high=float(high), n=len(top))


def cohens_d(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """(mean first − mean second) / pooled standard deviation (Cohen 1988); 0 where nothing varies and means agree."""
    a, b = (np.asarray(values, dtype=np.float64).ravel() for values in (first, second))
    if len(a) < 2 or len(b) < 2:
        raise ValueError("expected at least two values on each side")
    pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2)
    difference = float(a.mean() - b.mean())
    if pooled == 0:
        return 0.0 if difference == 0 else float(np.copysign(np.inf, difference))
    return difference / float(np.sqrt(pooled))


def _resampled_means(
    values: npt.NDArray[np.float64], *, samples: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    # How often each value is drawn is all that a mean needs.
    counts = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=samples)
    means: npt.NDArray[np.float64] = counts @ values / len(values)
    return means
