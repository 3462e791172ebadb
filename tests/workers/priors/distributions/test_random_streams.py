from __future__ import annotations

import torch
from scipy import stats

from tests.workers.priors.clouds import seeded
from workers.priors.distributions.random_streams import generator_for, normal_rows, split, uniforms


def test_a_purpose_has_its_own_numbers_and_a_seed_its_own() -> None:
    first = torch.rand(5, generator=generator_for(3, "deep.1"))
    assert torch.equal(first, torch.rand(5, generator=generator_for(3, "deep.1")))
    assert not torch.equal(first, torch.rand(5, generator=generator_for(3, "deep.11")))
    assert not torch.equal(first, torch.rand(5, generator=generator_for(4, "deep.1")))
    assert generator_for(2**63 - 1, "soft").initial_seed() >= 0


def test_rows_do_not_depend_on_how_many_there_are() -> None:
    assert torch.equal(normal_rows(3, 13, generator=seeded(1)), normal_rows(11, 13, generator=seeded(1))[:3])
    assert torch.equal(uniforms(3, generator=seeded(1)), uniforms(37, generator=seeded(1))[:3])


def test_rows_are_standard_normal_and_independent() -> None:
    rows = normal_rows(400, 17, generator=seeded(2))
    assert stats.kstest(rows.flatten().numpy(), "norm").pvalue > 0.01
    assert abs(float(torch.corrcoef(rows.T).triu(1).abs().max())) < 0.2


def test_split_generators_differ() -> None:
    numbers = [float(torch.rand(1, generator=each)) for each in split(seeded(0), 5)]
    assert len(set(numbers)) == 5
