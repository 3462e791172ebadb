"""The cost model and the choice of a size, compared with costs that are computed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from demo.study.budget import (
    BELOW,
    DECODE,
    FORWARD,
    OVERHEAD_S,
    STEPS,
    TOP,
    VAE_S,
    CostModel,
    Lengths,
    NotEnoughTime,
    all_tunings,
    sized,
    with_steps,
)
from demo.study.plan import Tuning
from demo.study.plans.smollm2 import FULL, SMOLLM2
from tests.demo.study.cards import card

RATES = {"soft": 5e-2, "deep": 1.0}
LENGTHS = {"arithmetic": Lengths(input=20, target=4), "squad": Lengths(input=90, target=6)}


def costs(**changes: Any) -> CostModel:
    given: dict[str, Any] = {"token_s": 1e-3, "lengths": LENGTHS, "n_layers": 30, "n_validation": 32, "fixed_s": 100.0}
    return CostModel(**given | changes)


def run(method: Mapping[str, Any], *, priors: tuple[Mapping[str, Any], ...] = ({"kind": "isotropic"},)) -> Tuning:
    spec = {
        "dataset": "arithmetic",
        "method": {"n_virtual": 20, **method},
        "priors": list(priors),
        "seeds": [0, 1],
        "optimizer": {"lr": [1e-3, 5e-3], "steps": 10, "batch_size": 16},
        "eval": {"every": 5, "n": 7},
    }
    return Tuning(name="a", spec=spec)


def test_the_cost_of_a_soft_run() -> None:
    training = 4 * (10 * (16 * 24 + 20) + 3 * FORWARD * 7 * 24)
    evaluation = (4 + 2 + 1) * 7 * (FORWARD * 44 + DECODE * 4)
    assert costs().of(run({"kind": "soft"})) == pytest.approx(OVERHEAD_S + 1e-3 * (training + evaluation))


def test_deep_runs_compute_the_layers_below_once_for_all_members() -> None:
    deep = run({"kind": "deep", "layers": [27, -2, 29]})
    share = 0.1 * TOP
    training = 4 * share * (10 * (16 * 24 + 20) + 3 * FORWARD * 7 * 24) + BELOW * 10 * 16 * 24
    evaluation = 7 * 7 * (FORWARD * 44 + DECODE * 4)
    assert costs().of(deep) == pytest.approx(OVERHEAD_S + 1e-3 * (training + evaluation))
    with_embeddings = run({"kind": "deep", "layers": [0, 27, 28, 29]})
    assert costs().of(with_embeddings) == pytest.approx(costs().of(run({"kind": "soft"})))


def test_autoencoders_are_trained_once_per_layer() -> None:
    vae = ({"kind": "vae", "epochs": 30}, {"kind": "isotropic"})
    plain = ({"kind": "xavier"}, {"kind": "isotropic"})
    method = {"kind": "deep", "layers": [27, 28, 29]}
    difference = costs().of(run(method, priors=vae)) - costs().of(run(method, priors=plain))
    assert difference == pytest.approx(3 * 30 * VAE_S)


def test_the_largest_size_that_fits_is_chosen() -> None:
    def total(steps: int) -> float:
        size = with_steps(FULL, steps=steps)
        return costs().total(all_tunings(SMOLLM2, size=size, card=card(), rates=RATES))

    limit = (total(100) + 1) / 60
    assert sized(SMOLLM2, costs=costs(), card=card(), rates=RATES, minutes=limit) == with_steps(FULL, steps=100)
    assert total(110) > 60 * limit
    assert sized(SMOLLM2, costs=costs(token_s=1e-9), card=card(), rates=RATES, minutes=600).steps == STEPS[1]


def test_seeds_are_reduced_only_if_the_smallest_number_of_steps_does_not_fit() -> None:
    smallest = with_steps(FULL, steps=STEPS[0])
    full = costs().total(all_tunings(SMOLLM2, size=smallest, card=card(), rates=RATES)) / 60
    assert len(sized(SMOLLM2, costs=costs(), card=card(), rates=RATES, minutes=full + 0.1).seeds) == 3
    assert len(sized(SMOLLM2, costs=costs(), card=card(), rates=RATES, minutes=full - 0.1).seeds) == 2
    one = replace(smallest, seeds=(0,))
    least = costs().total(all_tunings(SMOLLM2, size=one, card=card(), rates=RATES)) / 60
    with pytest.raises(NotEnoughTime, match=f"expected at least {least:.0f} minutes.*got 1$"):
        sized(SMOLLM2, costs=costs(), card=card(), rates=RATES, minutes=1)


def test_validation_losses_are_measured_about_twelve_times() -> None:
    assert [with_steps(FULL, steps=steps).every for steps in (4, 40, 400)] == [1, 3, 33]
