"""The specs that are sent, validated by the wire types, and the labels of members."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from promptatlas.types import TuneSpec

from demo.tour.jobs import Job, fitted_to
from demo.tour.tour import Size
from demo.tour.tours.demo_model import SCHEDULES, plan
from tests.demo.tour.members import job


def sent(one: Job) -> dict[str, Any]:
    found: dict[str, Any] = {}
    client: Any = SimpleNamespace(runs=SimpleNamespace(tune=lambda **spec: found.update(spec)))
    one.start(client, model="m")
    return found


@pytest.mark.parametrize("one", plan(Size()), ids=lambda one: one.name)
def test_each_run_of_the_plan_is_one_fused_spec(one: Job) -> None:
    given = sent(one)
    assert given.pop("run_name") == one.title
    spec = TuneSpec.model_validate(given)
    assert len(spec.priors) >= 4
    assert len(spec.seeds) == 2
    assert one.n_members == len(spec.priors) * 2
    assert spec.eval.splits == ["test"]
    assert spec.eval.metrics == ["exact_match", "loss"]


def test_the_plan_has_both_kinds_for_both_tasks() -> None:
    jobs = plan(Size(n_steps=3, n_asked=5, n_seeds=1))
    kinds = [(one.dataset, one.method["kind"]) for one in jobs]
    assert kinds == [(f"demo-{task}", kind) for task, kind in SCHEDULES]
    assert {(one.optimizer["steps"], one.eval["every"], one.eval["n"], one.seeds) for one in jobs} == {(3, 3, 5, (0,))}


def test_members_are_in_the_order_priors_seeds_rates() -> None:
    one = job(seeds=(0, 1, 2), optimizer={"lr": [0.1, 0.2], "steps": 5})
    assert one.n_members == 12
    assert [one.label(i) for i in (0, 5, 6, 11)] == ["near", "near", "far", "far"]


def test_a_wider_fit_multiplies_the_covariance() -> None:
    source = {"activations": {"dataset": "d", "n": 7}}
    assert fitted_to("d", n_texts=7) == {"kind": "gaussian", "fit": source}
    assert fitted_to("d", n_texts=7, scale=25.0) == {"kind": "gaussian", "fit": source, "scale": 25.0}
