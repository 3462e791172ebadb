from __future__ import annotations

from typing import Any

import pytest
from promptatlas.types import RunKind

from service.errors import AtlasError
from service.planning.run_kinds import Plan, plan
from tests.service.planning.planning_world import planning_context


def evaluation(**changes: Any) -> Plan:
    spec = {"model": "demo", "dataset": "qa", "prompts": ["soft", None]}
    return plan("evaluate", {**spec, **changes}, context=planning_context())


def sampling(prior: Any, **changes: Any) -> Plan:
    return plan("sample", {"model": "demo", "prior": prior, **changes}, context=planning_context(), at=())


def test_an_evaluation_pins_its_prompts() -> None:
    found = evaluation()
    assert found.spec["prompts"] == ["soft@3", None]
    assert found.resolved["prompts"] == {"soft@3": "sha256:soft"}
    assert found.spec["metrics"] == ["exact_match", "f1", "loss"]


def test_running_text_is_measured_by_its_loss() -> None:
    assert evaluation(dataset="text").spec["metrics"] == ["loss", "perplexity"]


@pytest.mark.parametrize(
    ("changes", "loc"),
    [
        ({"model": "nope"}, ("model",)),
        ({"dataset": "nope"}, ("dataset",)),
        ({"dataset": "train-only"}, ("split",)),
        ({"dataset": "text", "metrics": ["loss", "numeric_match"]}, ("metrics", 1)),
        ({"metrics": ["loss", "loss"]}, ("metrics", 1)),
        ({"prompts": ["soft", "nope"]}, ("prompts", 1)),
        ({"prompts": ["soft", "soft2", "foreign"]}, ("prompts", 2)),
        ({"prompts": ["soft", "soft@3"]}, ("prompts", 1)),
        ({"prompts": [None, None]}, ("prompts", 1)),
        ({"max_tokens": 60}, ("max_tokens",)),
        ({"template": {"input": "{x}", "target": ""}}, ("template", "input")),
    ],
)
def test_an_evaluation_that_cannot_work_is_refused(changes: Any, loc: tuple[str | int, ...]) -> None:
    with pytest.raises(AtlasError) as caught:
        evaluation(**changes)
    assert caught.value.loc == ("spec", *loc)


def test_an_evaluation_may_use_all_of_the_context() -> None:
    assert evaluation(max_tokens=59).spec["max_tokens"] == 59
    assert evaluation(prompts=[None], max_tokens=63).spec["max_tokens"] == 63


@pytest.mark.parametrize(
    ("prior", "changes"),
    [
        ({"kind": "isotropic"}, {"layer": -5}),
        ({"kind": "posterior", "prompts": ["soft"]}, {}),
        ({"kind": "posterior", "prompts": ["deep", "carried"]}, {"layer": -1}),
        ({"kind": "prompt", "ref": "soft"}, {"n": 4}),
        ({"kind": "prompt", "ref": "carried"}, {"n": 4, "layer": 1}),
        ({"kind": "xavier"}, {"n": 100_000}),
    ],
)
def test_a_sample_is_drawn_where_asked(prior: Any, changes: Any) -> None:
    found = sampling(prior, **changes)
    assert found.spec["prior"]["kind"] == prior["kind"]
    assert found.spec["seed"] == 0


@pytest.mark.parametrize(
    ("prior", "changes", "loc"),
    [
        ({"kind": "isotropic"}, {"layer": 5}, ("layer",)),
        ({"kind": "isotropic"}, {"model": "nope"}, ("model",)),
        ({"kind": "posterior", "prompts": ["soft"]}, {"layer": 1}, ("prior", "prompts", 0)),
        ({"kind": "posterior", "prompts": ["deep"]}, {"layer": 2}, ("prior", "prompts", 0)),
        ({"kind": "posterior", "prompts": ["prefix"]}, {}, ("prior", "prompts", 0)),
        ({"kind": "prompt", "ref": "soft"}, {"n": 5}, ("prior", "ref")),
        (
            {"kind": "gaussian", "fit": {"activations": {"dataset": "qa", "layer": 9}}},
            {},
            ("prior", "fit", "activations", "layer"),
        ),
        ({"kind": "isotropic", "std": 0}, {}, ("prior", "std")),
    ],
)
def test_a_sample_that_cannot_be_drawn_is_refused(prior: Any, changes: Any, loc: tuple[str | int, ...]) -> None:
    with pytest.raises(AtlasError) as caught:
        sampling(prior, **changes)
    assert caught.value.loc == loc


@pytest.mark.parametrize("kind", ["tune", "evaluate", "sample"])
def test_every_kind_refuses_an_empty_spec(kind: RunKind) -> None:
    with pytest.raises(AtlasError) as caught:
        plan(kind, {}, context=planning_context())
    assert caught.value.loc == ("spec", "model")
