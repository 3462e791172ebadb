from __future__ import annotations

from typing import Any

import pytest

from service.errors import AtlasError
from service.planning.run_kinds import Plan, plan
from tests.service.planning.planning_world import planning_context


def evaluation(**changes: Any) -> Plan:
    spec = {"model": "demo", "dataset": "qa", "prompts": ["soft", None]}
    return plan("evaluate", {**spec, **changes}, context=planning_context())


def test_an_evaluation_pins_its_prompts() -> None:
    found = evaluation()
    assert found.spec["prompts"] == ["soft@3", None]
    assert found.resolved["prompts"] == {"soft@3": "sha256:soft"}
    assert found.spec["metrics"] == ["exact_match", "f1", "loss"]


def test_running_text_is_measured_by_its_loss() -> None:
    assert evaluation(dataset="text").spec["metrics"] == ["loss", "perplexity"]


def test_sampled_answers_get_a_metric() -> None:
    assert evaluation().spec["sampling"] is None
    sampling = evaluation(sampling={"n": 4}).spec["sampling"]
    assert (sampling["metric"], sampling["answer"], sampling["k"]) == ("exact_match", "whole", None)
    numbers = evaluation(sampling={"answer": {"find": "last_number"}}).spec["sampling"]
    assert (numbers["metric"], numbers["n"]) == ("numeric_match", 8)


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
        ({"dataset": "text", "sampling": {"n": 4}}, ("sampling",)),
        ({"sampling": {"n": 4, "k": [1, 5]}}, ("sampling", "k", 1)),
        ({"sampling": {"n": 4, "k": [2, 2]}}, ("sampling", "k", 1)),
        ({"sampling": {"n": 1}}, ("sampling", "n")),
        ({"sampling": {"temperature": 0}}, ("sampling", "temperature")),
        ({"sampling": {"metric": "loss"}}, ("sampling", "metric")),
        ({"sampling": {"answer": {"find": "pattern", "pattern": "("}}}, ("sampling", "answer", "pattern")),
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
