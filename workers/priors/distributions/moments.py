"""Mean and covariance of a cloud, and shrinkage of the covariance."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from promptatlas.types.priors import Shrinkage

from service.engine.shapes import Float, Int, Tensor
from service.errors import InvalidRequest
from workers.priors.distributions.chunks import chunks

MIN_POINTS_A_DIMENSION = 10
"""Below this, ``auto`` shrinks: the smallest eigenvalue of the sample covariance is then less than half of the population's."""


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean `[d]` and covariance `[d, d]` (1/N), float64, before shrinkage.

    n: number of points. n_distinct: number of distinct points. fourth: mean of |x − mean|⁴, for Ledoit and Wolf's formula.
    """

    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]
    n: int
    n_distinct: int
    fourth: float

    @property
    def d(self) -> int:
        return len(self.mean)


@dataclass(frozen=True, kw_only=True)
class Regular:
    """A covariance after shrinkage towards a multiple of the identity with the same trace.

    weight: of the identity, 0 to 1. method: formula of the weight; ``none`` if the weight is 0.
    """

    covariance: Float[Tensor, "d d"]
    weight: float
    method: Shrinkage


def no_check() -> None:
    """A ``check`` that never stops a computation."""


def distinct_rows(points: Float[Tensor, "n d"]) -> Int[Tensor, " distinct"]:
    """Indices of the first occurrence of each bitwise distinct row, ascending."""
    rows = points.contiguous().numpy()
    first: dict[bytes, int] = {}
    for i, row in enumerate(rows):
        first.setdefault(hashlib.blake2b(row, digest_size=16).digest(), i)
    return torch.tensor(sorted(first.values()))


def measure(points: Float[Tensor, "n d"], *, check: Callable[[], None] = no_check) -> Moments:
    """Mean and covariance in float64, in chunks, so that a large cloud is not copied.

    Args:
        check: called between chunks; raises to stop.

    Raises:
        InvalidRequest: there are fewer than two points.
    """
    n, d = points.shape
    if n < 2:
        raise InvalidRequest(f"a covariance needs at least 2 points, this source has {n}.", loc=("prior", "fit"))
    mean = points.sum(0, dtype=torch.float64) / n
    total, fourth = torch.zeros(d, d, dtype=torch.float64), 0.0
    for chunk in chunks(n):
        check()
        centred = points[chunk].double() - mean
        total.addmm_(centred.T, centred)
        fourth += float(centred.square().sum(1).square().sum())
    return Moments(mean=mean, covariance=total / n, n=n, n_distinct=len(distinct_rows(points)), fourth=fourth / n)


def regularise(moments: Moments, *, shrinkage: Shrinkage) -> Regular:
    """The covariance after shrinkage; ``auto`` uses Ledoit and Wolf's weight if there are few points."""
    if shrinkage == "auto":
        shrinkage = "ledoit-wolf" if moments.n_distinct < MIN_POINTS_A_DIMENSION * moments.d else "none"
    if shrinkage == "none":
        return Regular(covariance=moments.covariance, weight=0.0, method="none")
    weight = ledoit_wolf_weight(moments) if shrinkage == "ledoit-wolf" else oas_weight(moments)
    target = torch.eye(moments.d, dtype=torch.float64) * moments.covariance.diagonal().mean()
    return Regular(covariance=torch.lerp(moments.covariance, target, weight), weight=weight, method=shrinkage)


def ledoit_wolf_weight(moments: Moments) -> float:
    """As ``sklearn.covariance.ledoit_wolf_shrinkage``, but from moments: half the work, and no copy of the points."""
    s, d = moments.covariance, moments.d
    squared = float(s.square().sum())
    spread = squared - float(s.trace()) ** 2 / d
    error = (moments.fourth - squared) / moments.n
    return 0.0 if error <= 0 or spread <= 0 else min(error / spread, 1.0)


def oas_weight(moments: Moments) -> float:
    """As ``sklearn.covariance.oas``."""
    s, d, n = moments.covariance, moments.d, moments.n
    alpha, mu_squared = float(s.square().mean()), (float(s.trace()) / d) ** 2
    over = (n + 1.0) * (alpha - mu_squared / d)
    return 1.0 if over <= 0 else min((alpha + mu_squared) / over, 1.0)
