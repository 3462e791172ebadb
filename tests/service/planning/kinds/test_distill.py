from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.errors import AtlasError, InvalidRequest, NotFound
from service.planning.context import PlanningContext
from service.planning.run_kinds import Plan, plan
from tests.service.planning.planning_world import CARD, FakeDatasets, dataset, planning_context

KL = {"kind": "kl", "top_k": 4}
CONTEXT = {"context": "Think step by step. "}


def traces(name: str, **changes: Any) -> Any:
    facts = {
        "model": "demo",
        "revision": "rev-demo",
        "teacher": None,
        "logprobs": 8,
        "top_tokens": [{"file": "top-tokens-00000.safetensors"}],
        **changes,
    }
    return replace(dataset(name), traces=facts)


@pytest.fixture
def context() -> PlanningContext:
    world = planning_context()
    models = {**world.models, "wider": {**CARD, "vocab_size": 98, "revision": "rev-wider"}}
    datasets = FakeDatasets(
        dataset("qa"),
        dataset("text", template=None),
        dataset("one", train=1, test=1, validation=1),
        dataset("test-only", test=5),
        traces("traces"),
        traces("of-old-weights", revision="rev-before"),
        traces("of-no-model", model="gone"),
        traces("of-an-endpoint", teacher="outside"),
        traces("texts-only", logprobs=None, top_tokens=[]),
    )
    return replace(world, models=models, datasets=datasets)


def planned(world: PlanningContext, /, **changes: Any) -> Plan:
    spec = {"model": "demo", "dataset": "qa", "name": "student", "priors": [{"kind": "isotropic"}], "teacher": CONTEXT}
    return plan("distill", {**spec, **changes}, context=world)


def test_a_teacher_and_its_defaults(context: PlanningContext) -> None:
    found = planned(context, teacher={"prompt_ref": "soft"}, loss=[KL])
    assert found.spec["teacher"]["prompt_ref"] == "soft@3"
    assert found.resolved["prompts"] == {"soft@3": "sha256:soft"}
    assert found.spec["target"] == {"part": "chain", "answer": None}
    assert planned(context).spec["loss"] == [{"kind": "sequence", "weight": 1.0}]


def test_a_posterior_is_refused(context: PlanningContext) -> None:
    with pytest.raises(InvalidRequest, match="Expected no posterior in a distill run") as refused:
        planned(context, posterior={"method": "svgd"})
    assert refused.value.loc == ("spec", "posterior")


def test_a_file_gives_as_many_tokens_as_it_has(context: PlanningContext) -> None:
    found = planned(context, teacher={"dataset": "traces"}, loss=[{"kind": "kl"}, {"kind": "jsd", "top_k": 3}])
    assert [term["top_k"] for term in found.spec["loss"]] == [8, 3]
    assert found.resolved["datasets"] == {"qa": "sha256:qa", "traces": "sha256:traces"}


def test_the_items_need_no_training_split_if_the_teacher_has_texts(context: PlanningContext) -> None:
    found = planned(context, dataset="test-only", teacher={"dataset": "traces"})
    assert found.spec["eval"]["splits"] == ["test"]
    assert found.spec["keep"] == "best"


def test_layers_of_states_are_counted_from_the_first(context: PlanningContext) -> None:
    found = planned(context, loss=[{"kind": "states", "layers": [-1, 2]}])
    assert found.spec["loss"][0]["layers"] == [2, 4]


def test_text_of_another_domain_gets_a_split(context: PlanningContext) -> None:
    assert planned(context).spec["eval"]["other"] is None
    found = planned(context, eval={"other": {"dataset": "text"}})
    assert found.spec["eval"]["other"] == {"dataset": "text", "split": "test", "n": 200, "template": None}
    assert found.resolved["datasets"] == {"qa": "sha256:qa", "text": "sha256:text"}
    assert found.spec["eval"]["metrics"] == ["exact_match", "f1", "loss"]


def test_each_text_may_have_its_own_context(context: PlanningContext) -> None:
    found = planned(context, teacher={"context": {"field": "question"}}, loss=[KL])
    assert found.spec["teacher"]["context"] == {"field": "question", "separator": "\n\n", "role": None}


@pytest.mark.parametrize(
    "part",
    [
        "answer",
        {"steps": 0.5, "from": "end"},
        {"tokens": 0.25},
        {"remove_per_epoch": 2, "unit": "tokens", "smoothing": None},
    ],
)
def test_a_part_is_stored_as_it_was_sent(context: PlanningContext, part: Any) -> None:
    stored = planned(context, target={"part": part}).spec["target"]["part"]
    expected = part if isinstance(part, str) else {"from": "start", **part}
    assert stored == expected


@pytest.mark.parametrize(
    ("changes", "loc", "reason"),
    [
        ({"teacher": {}}, ("teacher",), "Expected a dataset, a context, a prompt_ref or a model"),
        ({"dataset": "text"}, ("dataset",), "has running text"),
        ({"teacher": {"dataset": "text"}}, ("teacher", "dataset"), "has running text"),
        ({"teacher": {"dataset": "test-only"}}, ("dataset",), "Expected at least 1 in split 'train' of 'test-only'"),
        ({"teacher": {"context": []}}, ("teacher", "context"), "has no chat template"),
        ({"teacher": {"context": {"shots": 64}}}, ("teacher", "context", "shots"), "Expected at least 65"),
        (
            {"teacher": {"context": {"field": "chunk"}}},
            ("teacher", "context", "field"),
            "answer, question; got 'chunk'",
        ),
        ({"teacher": {"context": {"field": "answer", "role": "user"}}}, ("teacher", "context"), "has no chat template"),
        (
            {"eval": {"other": {"dataset": "test-only", "split": "train"}}},
            ("eval", "other", "split"),
            "Expected at least 1",
        ),
        (
            {"eval": {"other": {"dataset": "text", "template": {"input": "{x}", "target": "y"}}}},
            ("eval", "other", "template", "input"),
            "x",
        ),
        ({"teacher": {"model": "wider"}}, ("teacher", "model"), "vocabulary of 97; wider has 98"),
        ({"teacher": {"dataset": "qa"}, "loss": [KL]}, ("loss", 0), "'qa' has none"),
        ({"teacher": {"dataset": "texts-only"}, "loss": [KL]}, ("loss", 0), "'texts-only' has none"),
        ({"teacher": {"dataset": "of-old-weights"}, "loss": [KL]}, ("loss", 0), "revision rev-before"),
        ({"teacher": {"dataset": "of-no-model"}, "loss": [KL]}, ("loss", 0), "is not hosted here"),
        ({"teacher": {"dataset": "of-an-endpoint"}, "loss": [KL]}, ("loss", 0), "are texts of the endpoint 'outside'"),
        ({"teacher": {"dataset": "traces"}, "loss": [{"kind": "kl", "top_k": 9}]}, ("loss", 0, "top_k"), "at most 8"),
        (
            {"teacher": {"dataset": "traces"}, "loss": [{"kind": "kl", "temperature": 2}]},
            ("loss", 0, "temperature"),
            "Expected temperature 1",
        ),
        ({"teacher": {"dataset": "traces"}, "on_policy": 0.5, "loss": [KL]}, ("on_policy",), "that the worker runs"),
        ({"on_policy": 0.5}, ("on_policy",), "Expected a divergence"),
        ({"on_policy": 0.5, "loss": [KL], "target": {"part": "answer"}}, ("target", "part"), "the whole chain"),
        ({"loss": [{"kind": "jsd", "top_k": 3, "rest": False}]}, ("loss", 0, "rest"), "only for kl"),
        ({"loss": [{"kind": "kl", "rest": False}]}, ("loss", 0, "top_k"), "Expected top_k with rest false"),
        ({"loss": [{"kind": "kl", "top_k": 97}]}, ("loss", 0, "top_k"), "below the vocabulary of 97"),
        ({"loss": [{"kind": "states", "layers": [5]}]}, ("loss", 0, "layers", 0), "has layers 0 to 4"),
        (
            {"teacher": {"model": "other"}, "loss": [{"kind": "states", "layers": [1]}]},
            ("loss", 0),
            "the students' own base",
        ),
        (
            {"method": {"kind": "steering", "layers": [3]}, "loss": [{"kind": "states", "layers": [2, 3]}]},
            ("loss", 0, "layers"),
            "Expected layers from 3 on",
        ),
        ({"method": {"kind": "soft", "n_virtual": 3, "n_frozen": 3}}, ("method", "n_frozen"), "below n_virtual, 3"),
        (
            {"method": {"kind": "prefix", "n_virtual": 3, "n_frozen": 1, "d_reparametrised": 4}},
            ("method", "n_frozen"),
            "got both",
        ),
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
        ({"teacher": {"model": "absent"}}, ("teacher", "model")),
        ({"teacher": {"dataset": "absent"}}, ("teacher", "dataset")),
        ({"teacher": {"prompt_ref": "absent"}}, ("teacher", "prompt_ref")),
        ({"eval": {"other": {"dataset": "absent"}}}, ("eval", "other", "dataset")),
    ],
)
def test_what_is_not_there(context: PlanningContext, changes: dict[str, Any], loc: tuple[str | int, ...]) -> None:
    with pytest.raises(AtlasError) as refused:
        planned(context, **changes)
    assert isinstance(refused.value, NotFound)
    assert refused.value.loc == ("spec", *loc)
