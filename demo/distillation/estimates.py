"""Means over seeds and chains, and their intervals by a bootstrap of both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from demo.distillation.record import Answers

N_SAMPLES: Final = 2000
SEED: Final = 0
LEVEL: Final = 0.95

Array = npt.NDArray[np.float64]
"""Values of one measure, `[n_seeds, n_chains]`."""


@dataclass(frozen=True)
class Estimate:
    """A mean and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def right(found: Sequence[Answers]) -> Array:
    """Whether each answer is right."""
    return np.array([one.right for one in found], np.float64)


def tokens(found: Sequence[Answers]) -> Array:
    """Tokens of each answer."""
    return np.array([one.n_tokens for one in found], np.float64)


def mean(values: Array) -> Estimate:
    """The mean over seeds and chains. Seeds and chains are resampled independently of each other, each with replacement."""
    return _estimate(lambda sample: sample.of(values))


def difference(first: Array, second: Array) -> Estimate:
    """The difference of two means over the same chains, which are resampled together; seeds are resampled for each."""
    return _estimate(lambda sample: sample.of(first) - sample.of(second))


def ratio(first: Array, second: Array) -> Estimate:
    """The ratio of two means, resampled as in ``difference``."""
    return _estimate(lambda sample: sample.of(first) / sample.of(second))


class _Sample:
    """One resampling: the chains are the same for all arrays. rng: None: everything once, without resampling."""

    def __init__(self, rng: np.random.Generator | None) -> None:
        self._rng = rng
        self._chains: npt.NDArray[np.int64] | None = None

    def of(self, values: Array) -> float:
        if self._rng is None:
            return float(values.mean())
        n_seeds, n_chains = values.shape
        if self._chains is None:
            self._chains = self._rng.integers(n_chains, size=(n_chains,))
        seeds = self._rng.integers(n_seeds, size=(n_seeds,))
        return float(values[seeds][:, self._chains].mean())


def _estimate(statistic: Callable[[_Sample], float]) -> Estimate:
    rng = np.random.default_rng(SEED)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.array([statistic(_Sample(rng)) for _ in range(N_SAMPLES)])
        value = statistic(_Sample(None))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))
