from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.workers.priors.clouds import check_draws, seeded, tilted_cloud
from workers.priors.distributions.moments import measure
from workers.priors.distributions.normal import fit_normal
from workers.priors.kinds.knn import Knn
from workers.priors.prior import NoDensity

D, K = 5, 3


def made(*, candidates: int, spread: float = 1.0) -> Knn:
    points = tilted_cloud(200, D)
    step, facts = fit_normal(measure(points), shrinkage="auto")
    return Knn(points, step=step, k=K, candidates=candidates, spread=spread, facts=facts)


def test_distances_are_to_the_kth_nearest() -> None:
    points, at = tilted_cloud(200, D).numpy(), tilted_cloud(7, D, seed=1)
    expected = np.sort(np.linalg.norm(at.numpy()[:, None] - points, axis=2), axis=1)[:, K - 1]
    np.testing.assert_allclose(made(candidates=4).distances(at).numpy(), expected, rtol=1e-4)


def test_draws_keep_away_from_the_cloud_and_more_candidates_farther() -> None:
    few, many = made(candidates=2), made(candidates=64)
    check_draws(many, d=D)
    medians = [float(prior.distances(prior.sample(300, generator=seeded(0))).median()) for prior in (few, many)]
    assert medians[1] > 1.5 * medians[0] > 1.5 * float(few.facts["median_own_distance"])


def test_the_emptiest_of_each_vectors_own_candidates_is_kept() -> None:
    """With a tiny spread, candidates are points of the cloud; so the kept ones have the largest own distance of some."""
    prior = made(candidates=8, spread=1e-6)
    points = tilted_cloud(200, D)
    own = prior.distances(points)
    kept = prior.distances(prior.sample(400, generator=seeded(0)))
    rank = torch.searchsorted(own.sort().values, kept.contiguous()).double() / len(own)
    # The largest of 8 even ranks is 8/9 on average.
    assert float(rank.mean()) == pytest.approx(8 / 9, abs=0.02)


def test_a_point_is_not_its_own_neighbour() -> None:
    points = torch.arange(12.0)[:, None] ** 1.5
    step, facts = fit_normal(measure(points), shrinkage="none")
    prior = Knn(points, step=step, k=1, candidates=2, spread=1.0, facts=facts)
    gaps = points.flatten().diff().tolist()
    nearest = [min(gaps[max(i - 1, 0) : i + 1]) for i in range(12)]
    assert prior.facts["median_own_distance"] == pytest.approx(sorted(nearest)[5], rel=1e-5)


def test_it_has_no_density() -> None:
    with pytest.raises(NoDensity, match="knn"):
        made(candidates=2).log_prob(torch.zeros(1, D))
