"""Reports that can be made, and those that cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.errors import AtlasError
from service.planning.run_kinds import Plan, plan
from tests.service.planning.planning_world import FakeDatasets, dataset, planning_context


def reporting(**changes: Any) -> Plan:
    spec = {"model": "demo", "datasets": ["long", "text-long"], "prompts": ["soft"]}
    datasets = FakeDatasets(
        dataset("long", train=50, test=30), dataset("text-long", template=None, train=25), dataset("qa")
    )
    context = replace(planning_context(), datasets=datasets)
    return plan("report", {**spec, **changes}, context=context)


def test_a_report_pins_prompts_and_counts_layers_from_the_front() -> None:
    found = reporting(layers=[-1, 0])
    assert found.spec["prompts"] == ["soft@3"]
    assert found.spec["layers"] == [0, 4]
    assert found.resolved["prompts"] == {"soft@3": "sha256:soft"}
    assert set(found.resolved["datasets"]) == {"long", "text-long"}
    assert reporting().spec["layers"] == "all"


@pytest.mark.parametrize(
    ("changes", "loc"),
    [
        ({"model": "nope"}, ("model",)),
        ({"datasets": ["long", "nope"]}, ("datasets", 1)),
        ({"datasets": ["long", "long"]}, ("datasets", 1)),
        ({"datasets": ["qa"]}, ("datasets", 0)),
        ({"prompts": ["soft", "foreign"]}, ("prompts", 1)),
        ({"prompts": ["soft", "soft@3"]}, ("prompts", 1)),
        ({"layers": [5]}, ("layers", 0)),
        ({"layers": [1, -4]}, ("layers", 1)),
        ({"max_tokens": 64}, ("max_tokens",)),
        ({"priors": [{"kind": "prompt", "ref": "soft"}]}, ("priors", 0, "kind")),
        ({"priors": [{"kind": "gaussian", "fit": {"embeddings": {"dataset": "nope"}}}]}, ("priors", 0)),
    ],
)
def test_a_report_that_cannot_work_is_refused(changes: Any, loc: tuple[str | int, ...]) -> None:
    with pytest.raises(AtlasError) as caught:
        reporting(**changes)
    assert caught.value.loc is not None
    assert caught.value.loc[: len(loc) + 1] == ("spec", *loc)
