"""The ``exclusion`` prior: draws around a cloud that avoid its dense core.

x ~ N(mu, c_dim·Sigma) with c_dim = c^(2/dim) is kept with probability max(0, 1 − p(x)/q(x)), where p is the density of
N(mu, Sigma) and q that of x. With t the squared Mahalanobis distance of x under Sigma, p/q = exp(−u) with
u = (t − t0)·(1 − 1/c_dim)/2 and t0 = 2·ln c / (1 − 1/c_dim). Candidates within t0 are always rejected; accepted ones have
the density (q − p)/Z, with Z = P(t > t0 | q) − P(t > t0 | p), the acceptance rate.

Acceptance depends on the distance alone. So distances are drawn and accepted first, and only accepted ones get a direction
and are multiplied by the factor of the covariance.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from promptatlas.types.priors import ExclusionPrior
from scipy.stats import chi2

from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from workers.priors.distributions.moments import measure, no_check
from workers.priors.distributions.normal import Normal, fit_normal
from workers.priors.distributions.random_streams import normal_rows, split, uniforms
from workers.priors.prior import Facts, Prior, Space
from workers.priors.sources.sources import Sources

MIN_ACCEPTANCE = 1e-5
"""Smallest acceptance rate. A candidate is one number, so a hundred thousand of them per vector take a few milliseconds."""

RIM = 0.01
"""In u: below it, the penalty follows the tangent of the log-density, which goes to −inf at the hole."""

_BATCH = 65_536


class Exclusion(Prior):
    """A normal distribution with a hole; ``dim`` is the rank of its covariance.

    Args:
        normal: N(mu, Sigma).
        c: volume of the wide distribution relative to N(mu, Sigma); above 1.
        check: called between batches of candidates; raises to stop.

    Raises:
        InvalidRequest: the acceptance rate is below ``MIN_ACCEPTANCE``.
    """

    name = "exclusion"

    def __init__(self, normal: Normal, *, c: float, facts: Facts, check: Callable[[], None] = no_check) -> None:
        self._normal = normal
        self._check = check
        self._log_c = math.log(c)
        self._log_c_dim = 2 * self._log_c / normal.rank
        # 1 − 1/c_dim, which is close to 0 in many dimensions.
        self._slope = -math.expm1(-self._log_c_dim)
        self.hole = 2 * self._log_c / self._slope
        self.acceptance = float(
            chi2.sf(self.hole * math.exp(-self._log_c_dim), normal.rank) - chi2.sf(self.hole, normal.rank)
        )
        if self.acceptance < MIN_ACCEPTANCE:
            raise InvalidRequest(
                f"with c = {c:g} in {normal.rank} dimensions {self.acceptance:.1e} of the candidates are outside the core; "
                f"expected at least {MIN_ACCEPTANCE:g}: choose a larger c.",
                loc=("prior", "c"),
            )
        self.facts = {
            **facts,
            "acceptance": self.acceptance,
            "c_dim": math.exp(self._log_c_dim),
            "hole_radius": math.sqrt(self.hole),
        }

    @classmethod
    def fit(cls, spec: ExclusionPrior, *, space: Space, sources: Sources) -> Exclusion:
        moments = measure(sources.points(spec.fit, layer=space.layer), check=sources.check)
        normal, facts = fit_normal(moments, shrinkage=spec.shrinkage)
        return cls(normal, c=spec.c, facts=facts, check=sources.check)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        for_distances, for_directions = split(generator, 2)
        distances = self.squared_distances(n, generator=for_distances)[0][:n]
        directions = normal_rows(n, self._normal.rank, generator=for_directions)
        directions *= (distances / directions.square().sum(1)).sqrt()[:, None]
        return self._normal.colour(directions)

    def squared_distances(self, n: int, *, generator: torch.Generator) -> tuple[Float[Tensor, " n"], int]:
        """Squared distances of at least ``n`` accepted candidates, and the number of candidates drawn."""
        for_candidates, for_acceptance = split(generator, 2)
        half_dim = torch.full((_BATCH,), self._normal.rank / 2, dtype=torch.float64)
        kept: list[Tensor] = []
        n_kept = n_batches = 0
        while n_kept < n:
            self._check()
            # Whole batches, so that the first draws do not depend on n. Twice a gamma of dim/2 is a chi-square.
            candidates = 2 * math.exp(self._log_c_dim) * torch._standard_gamma(half_dim, generator=for_candidates)
            accepted = uniforms(_BATCH, generator=for_acceptance) < -torch.expm1(-self._outside(candidates))
            kept.append(candidates[accepted])
            n_kept += int(accepted.sum())
            n_batches += 1
        return torch.cat([torch.empty(0, dtype=torch.float64), *kept]), n_batches * _BATCH

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        squared, outside = self._squared_and_outside(vectors)
        safe = torch.where(outside > 0, outside, 1.0)
        log_kept = torch.where(outside > 0, (-torch.expm1(-safe)).log(), -torch.inf)
        return self._log_wide(squared) + log_kept - math.log(self.acceptance)

    def map_log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        """``log_prob`` outside the hole's rim, its tangent in u inside: vectors in the hole are pushed out of it."""
        squared, outside = self._squared_and_outside(vectors)
        safe = outside.clamp(min=RIM)
        tangent = math.log(-math.expm1(-RIM)) + (outside - RIM) / math.expm1(RIM)
        log_kept = torch.where(outside > RIM, (-torch.expm1(-safe)).log(), tangent)
        return self._log_wide(squared) + log_kept - math.log(self.acceptance)

    def _squared_and_outside(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distances, and u, which is positive outside the hole."""
        if not self._normal.is_regular:
            self._refuse_density(f"its covariance has rank {self._normal.rank} of {self._normal.d}")
        squared = self._normal.squared_distance(vectors)
        return squared, self._outside(squared)

    def _outside(self, squared: Tensor) -> Tensor:
        return (squared - self.hole) * (self._slope / 2)

    def _log_wide(self, squared: Tensor) -> Tensor:
        wide = self._normal.log_density(squared * math.exp(-self._log_c_dim))
        return wide - self._log_c
