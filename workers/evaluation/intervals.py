"""Bootstrap intervals: how far a mean could be off because only so many examples were asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

_BATCH_VALUES = 4_000_000


def bootstrap_interval(
    values: Sequence[float] | Floats,
    *,
    samples: int,
    seed: int,
    confidence: float = 0.95,
    weights: Sequence[float] | Floats | None = None,
) -> tuple[float, float]:
    """Percentile interval of the mean over examples drawn anew with replacement (Efron 1979).

    Args:
        values: one number an example; finite, at least one.
        samples: how many times as many examples are drawn.
        confidence: share of the resampled means inside, above 0 and below 1.
        weights: of each example, positive: the mean is Σ w·v / Σ w, such as nats a token from each text's own.

    Raises:
        ValueError: there are no values, or as many weights as values were expected and others came.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.size == 0:
        raise ValueError("an interval needs at least one value; none came.")
    shares = np.ones_like(given) if weights is None else np.asarray(weights, dtype=np.float64)
    if shares.shape != given.shape:
        raise ValueError(f"expected {given.size} weights, one a value; got {shares.size}.")
    if np.all(given == given[0]):
        return float(given[0]), float(given[0])
    found = stats.bootstrap(
        (given * shares, shares),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=samples,
        batch=max(1, _BATCH_VALUES // given.size),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _ratio(above: Floats, below: Floats, axis: int = -1) -> Floats:
    quotient: Floats = above.sum(axis=axis) / below.sum(axis=axis)
    return quotient
