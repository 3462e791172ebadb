from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.errors import AtlasError, InvalidRequest, NotFound
from service.planning.context import PlanningContext
from service.planning.run_kinds import Plan, plan
from service.planning.specs import BrokenSpec
from tests.service.planning.planning_world import planning_context


@pytest.fixture
def context() -> PlanningContext:
    return replace(planning_context(), teachers=("outside",))


def planned(world: PlanningContext, /, **changes: Any) -> Plan:
    return plan("generate", {"model": "demo", "dataset": "qa", "name": "made", **changes}, context=world)


def test_prompts_are_pinned_and_samples_counted(context: PlanningContext) -> None:
    found = planned(context, prompt_refs=["soft", None], n=4, split="test")
    assert found.spec["prompt_refs"] == ["soft@3", None]
    assert found.resolved["prompts"] == {"soft@3": "sha256:soft"}
    assert found.resolved["estimate"] == {"n_items": 10, "n_samples": 80}
    assert planned(context, n_items=7).resolved["estimate"] == {"n_items": 7, "n_samples": 7}


def test_the_metric_follows_from_the_rule(context: PlanningContext) -> None:
    assert planned(context).spec["metric"] == "exact_match"
    assert planned(context, answer={"find": "last_number"}).spec["metric"] == "numeric_match"
    assert planned(context, answer={"find": "last_number"}, metric="f1").spec["metric"] == "f1"


@pytest.mark.parametrize(
    ("changes", "loc", "reason"),
    [
        ({"dataset": "text"}, ("dataset",), "has running text"),
        ({"split": "validation", "dataset": "train-only"}, ("split",), "Expected at least 1"),
        ({"temperature": 0, "n": 2}, ("n",), "Expected n of 1 at temperature 0"),
        ({"min_tokens": 300}, ("min_tokens",), "at most max_tokens, 256; got 300"),
        ({"answer": {"find": "pattern", "pattern": "(?=a)"}}, ("answer", "pattern"), "syntax of RE2"),
        ({"metric": "loss"}, ("metric",), "a metric that compares answers, got loss"),
        ({"context": []}, ("context",), "has no chat template"),
        ({"context": {"shots": 64}}, ("context", "shots"), "Expected at least 65"),
        ({"context": {"field": "chunk"}}, ("context", "field"), "answer, question; got 'chunk'"),
        ({"context": {"field": "answer"}}, ("context", "field"), "not one of those of samples"),
        ({"context": {"field": "question", "role": "system"}}, ("context",), "has no chat template"),
        ({"max_tokens": 60_000}, ("max_tokens",), "do not fit the"),
        ({"prompt_refs": ["soft", "soft@3"]}, ("prompt_refs", 1), "item 1 repeats item 0"),
        ({"name": "qa"}, ("name",), "Expected the name of a new dataset; 'qa' exists"),
        ({"teacher": "outside", "prompt_refs": ["soft"]}, ("prompt_refs",), "Expected no prompts for a teacher"),
    ],
)
def test_what_cannot_work_is_refused(
    context: PlanningContext, changes: dict[str, Any], loc: tuple[str | int, ...], reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=None) as refused:
        planned(context, **changes)
    assert refused.value.loc == ("spec", *loc)
    assert reason in refused.value.detail


@pytest.mark.parametrize(
    ("changes", "loc"),
    [
        ({"model": "absent"}, ("model",)),
        ({"dataset": "absent"}, ("dataset",)),
        ({"teacher": "absent"}, ("teacher",)),
        ({"prompt_refs": [None, "absent"]}, ("prompt_refs", 1)),
    ],
)
def test_what_is_not_there(context: PlanningContext, changes: dict[str, Any], loc: tuple[str | int, ...]) -> None:
    with pytest.raises(AtlasError) as refused:
        planned(context, **changes)
    assert isinstance(refused.value, NotFound)
    assert refused.value.loc == ("spec", *loc)


def test_a_teacher_has_models_of_its_own(context: PlanningContext) -> None:
    assert planned(context, teacher="outside", model="its-own", context=[]).spec["model"] == "its-own"


@pytest.mark.parametrize(
    "changes",
    [
        {"logprobs": 65},
        {"n": 0},
        {"keep": "best"},
        {"name": "UPPER"},
        {"answer": {"find": "nowhere"}},
        {"answer": "part"},
        {"context": [{"role": "tool", "content": "x"}]},
        {"teacher": "https://example.org"},
        {"key": "secret"},
        {"temperature": 3.0},
    ],
)
def test_what_is_no_spec(context: PlanningContext, changes: dict[str, Any]) -> None:
    with pytest.raises(BrokenSpec):
        planned(context, **changes)
