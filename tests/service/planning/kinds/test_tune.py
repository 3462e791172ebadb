from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from service.errors import AtlasError, InvalidRequest, NotFound
from service.planning.run_kinds import Plan, plan
from tests.service.planning.planning_world import FakeDatasets, FakePrompts, planning_context, prompt, tune_spec

DEEP: dict[str, Any] = {"kind": "deep", "n_virtual": 4, "layers": [1, -1]}
FIT_QA = {"embeddings": {"dataset": "qa"}}


def planned(*, card: dict[str, Any] | None = None, **changes: Any) -> Plan:
    return plan("tune", tune_spec(**changes), context=planning_context(**(card or {})))


def refused(*, card: dict[str, Any] | None = None, **changes: Any) -> AtlasError:
    with pytest.raises(AtlasError) as caught:
        planned(card=card, **changes)
    return caught.value


def prior_of(prior: dict[str, Any], **changes: Any) -> Any:
    return planned(priors=[prior], **changes).spec["priors"][0]


def test_a_plan_has_every_default_and_what_its_names_meant() -> None:
    found = planned(priors=[{"kind": "prompt", "ref": "soft"}], seeds=[0, 1])
    assert found.spec["eval"] == {
        "every": 50,
        "metrics": ["exact_match", "f1", "loss"],
        "splits": ["test"],
        "n": 200,
        "max_tokens": None,
        "samples": 1000,
        "sampling": None,
    }
    assert found.spec["keep"] == "best"
    assert found.spec["priors"] == [{"kind": "prompt", "ref": "soft@3"}]
    assert found.resolved == {
        "base_revision": "rev-demo",
        "datasets": {"qa": "sha256:qa"},
        "prompts": {"soft@3": "sha256:soft"},
    }


def test_what_was_planned_plans_to_itself() -> None:
    first = planned(dataset="text", priors=[{"kind": "gaussian", "fit": FIT_QA}, {"kind": "prompt", "ref": "soft"}])
    assert plan("tune", first.spec, context=planning_context()) == first


def test_a_hash_stays_the_reference_that_it_is() -> None:
    ref = f"sha256:{'abc':0>64}"
    context = replace(planning_context(), prompts=FakePrompts(prompt("abc")))
    found = plan("tune", tune_spec(priors=[{"kind": "prompt", "ref": ref}]), context=context)
    assert found.spec["priors"][0]["ref"] == ref
    assert found.resolved["prompts"] == {ref: "sha256:abc"}


@pytest.mark.parametrize(
    ("changes", "loc"),
    [
        ({"model": "nope"}, ("model",)),
        ({"dataset": "nope"}, ("dataset",)),
        ({"priors": [{"kind": "xavier"}, {"kind": "prompt", "ref": "nope"}]}, ("priors", 1, "ref")),
        ({"priors": [{"kind": "posterior", "prompts": ["soft", "nope@2"]}]}, ("priors", 0, "prompts", 1)),
        (
            {"priors": [{"kind": "gaussian", "fit": {"activations": {"dataset": "nope"}}}]},
            ("priors", 0, "fit", "activations", "dataset"),
        ),
        (
            {
                "priors": [
                    {"kind": "interpolation", "from": {"kind": "prompt", "ref": "nope"}, "to": {"kind": "xavier"}}
                ]
            },
            ("priors", 0, "from", "ref"),
        ),
    ],
)
def test_names_that_mean_nothing_are_not_found_at_their_field(changes: Any, loc: tuple[str | int, ...]) -> None:
    error = refused(**changes)
    assert isinstance(error, NotFound)
    assert error.loc == ("spec", *loc)


@pytest.mark.parametrize(
    ("changes", "loc"),
    [
        ({"method": {**DEEP, "layers": [1, 5]}}, ("method", "layers", 1)),
        ({"method": {**DEEP, "layers": [-6]}}, ("method", "layers", 0)),
        ({"method": {**DEEP, "layers": [4, 0, -1]}}, ("method", "layers", 2)),
        ({"method": {"kind": "soft", "n_virtual": 63}}, ("method", "n_virtual")),
        ({"eval": {"max_tokens": 60}}, ("eval", "max_tokens")),
        ({"eval": {"splits": ["test", "test"]}}, ("eval", "splits", 1)),
        ({"eval": {"metrics": ["f1", "f1"]}}, ("eval", "metrics", 1)),
        ({"dataset": "text", "eval": {"metrics": ["loss", "exact_match"]}}, ("eval", "metrics", 1)),
        ({"dataset": "no-train"}, ("dataset",)),
        ({"dataset": "train-only", "eval": {"splits": ["train", "test"]}}, ("eval", "splits", 1)),
        ({"dataset": "train-only", "keep": "best"}, ("keep",)),
        ({"dataset": "train-only", "early_stopping": {}}, ("early_stopping",)),
        ({"optimizer": {"batch_size": 4, "accumulate": 5}}, ("optimizer", "accumulate")),
        ({"template": {"input": "{question}", "target": "{solution}"}}, ("template", "target")),
        ({"template": {"input": "{question", "target": "{answer}"}}, ("template", "input")),
        ({"template": {"input": "{question.__class__}", "target": "{answer}"}}, ("template", "input")),
        (
            {"priors": [{"kind": "gaussian", "fit": {"activations": {"dataset": "qa", "layer": 5}}}]},
            ("priors", 0, "fit", "activations", "layer"),
        ),
        (
            {"priors": [{"kind": "vae", "fit": {"embeddings": {"dataset": "train-only", "split": "test"}}}]},
            ("priors", 0, "fit", "embeddings", "split"),
        ),
        (
            {"priors": [{"kind": "vae", "fit": {"embeddings": {"dataset": "one"}}}]},
            ("priors", 0, "fit", "embeddings", "split"),
        ),
        (
            {"priors": [{"kind": "vae", "fit": {"embeddings": {"dataset": "qa", "n": 51}}}]},
            ("priors", 0, "fit", "embeddings", "n"),
        ),
        ({"priors": [{"kind": "knn", "fit": {"embeddings": "vocabulary"}, "k": 97}]}, ("priors", 0, "k")),
        ({"priors": [{"kind": "posterior", "prompts": ["soft", "deep"]}]}, ("priors", 0, "prompts", 1)),
        ({"priors": [{"kind": "posterior", "prompts": ["single"]}]}, ("priors", 0, "prompts")),
        ({"priors": [{"kind": "posterior", "prompts": ["soft"], "components": 2}]}, ("priors", 0, "components")),
        (
            {"priors": [{"kind": "posterior", "prompts": ["soft", "single"], "fit": "mixture", "components": 6}]},
            ("priors", 0, "components"),
        ),
        ({"priors": [{"kind": "prompt", "ref": "foreign"}]}, ("priors", 0, "ref")),
        ({"priors": [{"kind": "prompt", "ref": "old"}]}, ("priors", 0, "ref")),
        ({"priors": [{"kind": "prompt", "ref": "prefix"}]}, ("priors", 0, "ref")),
        (
            {"method": {"kind": "soft", "n_virtual": 5}, "priors": [{"kind": "prompt", "ref": "soft"}]},
            ("priors", 0, "ref"),
        ),
        ({"method": DEEP, "priors": [{"kind": "prompt", "ref": "carried"}]}, ("priors", 0, "ref")),
        (
            {"method": {**DEEP, "layers": [1, 2]}, "priors": [{"kind": "posterior", "prompts": ["deep"]}]},
            ("priors", 0, "prompts", 0),
        ),
        (
            {
                "priors": [
                    {"kind": "interpolation", "from": {"kind": "xavier"}, "to": {"kind": "prompt", "ref": "deep"}}
                ]
            },
            ("priors", 0, "to", "ref"),
        ),
        ({"regularize": {"weight": 0.1}}, ("regularize", "weight")),
        (
            {
                "method": {"kind": "prefix", "n_virtual": 4},
                "regularize": {"weight": 0.1},
                "priors": [{"kind": "gaussian", "fit": FIT_QA}],
            },
            ("regularize", "weight"),
        ),
    ],
)
def test_what_cannot_work_is_refused_at_its_field(changes: Any, loc: tuple[str | int, ...]) -> None:
    error = refused(**changes)
    assert isinstance(error, InvalidRequest)
    assert error.loc == ("spec", *loc)


WORKING: list[dict[str, Any]] = [
    {"method": DEEP, "priors": [{"kind": "prompt", "ref": "deep"}, {"kind": "posterior", "prompts": ["carried"]}]},
    {"method": {**DEEP, "layers": [4]}, "priors": [{"kind": "posterior", "prompts": ["deep", "carried"]}]},
    {"method": {**DEEP, "layers": [-5]}},
    {"priors": [{"kind": "posterior", "prompts": ["soft", "single"], "fit": "mixture", "components": 5}]},
    {"method": {"kind": "soft", "n_virtual": 62}},
    {
        "method": {"kind": "prefix", "n_virtual": 4},
        "priors": [{"kind": "prompt", "ref": "prefix"}, {"kind": "posterior", "prompts": ["soft"]}],
    },
    {"eval": {"max_tokens": 59}},
    {"dataset": "text", "eval": {"metrics": ["perplexity"]}},
    {"dataset": "text", "template": {"input": "", "target": "{text}"}, "eval": {"metrics": ["f1"]}},
    {"dataset": "train-only", "keep": "last"},
    {"optimizer": {"batch_size": 4, "accumulate": 4}},
    {"priors": [{"kind": "knn", "fit": {"embeddings": "vocabulary"}, "k": 96}]},
    {"priors": [{"kind": "interpolation", "from": {"kind": "xavier"}, "to": {"kind": "prompt", "ref": "soft"}}]},
    {
        "regularize": {"weight": 0.1},
        "priors": [
            {"kind": "isotropic"},
            {"kind": "exclusion", "fit": FIT_QA},
            {"kind": "posterior", "prompts": ["soft"]},
        ],
    },
    {"method": {"kind": "prefix"}, "regularize": {"weight": 0.1}, "priors": [{"kind": "isotropic"}]},
]


@pytest.mark.parametrize("changes", WORKING)
def test_what_can_work_is_taken(changes: Any) -> None:
    assert planned(**changes).spec["model"] == "demo"


def test_a_prefix_needs_layers_that_are_alike() -> None:
    error = refused(card={"has_equal_layers": False}, method={"kind": "prefix", "n_virtual": 4})
    assert error.loc == ("spec", "method", "kind")
    assert planned(card={"has_equal_layers": False}).spec["method"]["kind"] == "soft"


def test_defaults_follow_the_dataset() -> None:
    text = planned(dataset="text").spec["eval"]
    assert text["metrics"] == ["loss", "perplexity"]
    alone = planned(dataset="train-only").spec
    assert (alone["eval"]["splits"], alone["keep"]) == (["train"], "last")
    unvalidated = planned(dataset="unvalidated").spec
    assert (unvalidated["eval"]["splits"], unvalidated["keep"]) == (["test"], "last")


def test_a_source_takes_as_many_texts_as_there_are_unless_it_was_told() -> None:
    assert prior_of({"kind": "gaussian", "fit": FIT_QA})["fit"]["embeddings"]["n"] == 50
    told = {"embeddings": {"dataset": "qa", "n": 7}}
    assert prior_of({"kind": "gaussian", "fit": told})["fit"]["embeddings"]["n"] == 7


def test_references_are_pinned_wherever_they_stand() -> None:
    inner = {"kind": "posterior", "prompts": ["soft", "soft2@live"]}
    found = prior_of({"kind": "interpolation", "from": inner, "to": {"kind": "xavier"}})
    assert found["from"]["prompts"] == ["soft@3", "soft2@3"]


def test_a_dataset_is_looked_up_once() -> None:
    context = planning_context()
    fits = [{"kind": "gaussian", "fit": FIT_QA, "scale": scale} for scale in (1.0, 2.0, 3.0)]
    plan("tune", tune_spec(priors=fits), context=context)
    assert isinstance(context.datasets, FakeDatasets)
    assert context.datasets.asked == ["qa"]


@pytest.mark.parametrize(
    ("changes", "loc", "message"),
    [
        ({"priors": [{"kind": "vocabulary"}]}, ("posterior", "method"), "posterior svgd needs priors whose density"),
        (
            {"priors": [{"kind": "isotropic"}, {"kind": "isotropic", "std": 1.0}]},
            ("priors",),
            "one prior for svgd, .* got 2",
        ),
        ({"regularize": {"weight": 0.1}}, ("regularize", "weight"), "already"),
        ({"optimizer": {"lr": [0.1, 0.2]}}, ("optimizer", "lr"), "one lr for svgd, got 2"),
        ({"optimizer": {"weight_decay": 0.1}}, ("optimizer", "weight_decay"), "change the density"),
        ({"early_stopping": {"patience": 2}}, ("early_stopping",), "samples, not minima"),
        (
            {"posterior": {"method": "sgld", "burn_in": 1000, "thin": 1}},
            ("posterior", "burn_in"),
            r"at most 1000.* got 1000 \+ 1",
        ),
        (
            {"posterior": {"method": "sgld", "gamma": True}},
            ("posterior", "gamma"),
            "Expected preconditioned true with gamma",
        ),
        ({"posterior": {"method": "sgld", "decay": 0.5}}, ("posterior", "decay"), "preconditioned true with decay"),
        ({"posterior": {"method": "sgld", "thin": 1}, "seeds": [0, 1, 2]}, ("posterior", "thin"), "3 chains have 1500"),
    ],
)
def test_a_posterior_that_the_spec_does_not_define_is_refused(
    changes: dict[str, Any], loc: tuple[str, ...], message: str
) -> None:
    spec = {"priors": [{"kind": "isotropic"}], "posterior": {"method": "svgd"}, **changes}
    error = refused(**spec)
    assert error.loc == ("spec", *loc)
    assert re.search(message, error.detail)


@pytest.mark.parametrize("method", ["svgd", "sgld"])
def test_samples_are_the_last_vectors(method: str) -> None:
    found = planned(priors=[{"kind": "isotropic"}], posterior={"method": method})
    assert found.spec["keep"] == "last"


def test_an_ensemble_takes_any_priors() -> None:
    found = planned(priors=[{"kind": "vocabulary"}, {"kind": "isotropic"}], posterior={"method": "ensemble"})
    assert found.spec["posterior"] == {"method": "ensemble"}
