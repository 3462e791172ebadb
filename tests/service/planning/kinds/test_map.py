from __future__ import annotations

from typing import Any

import pytest

from service.errors import AtlasError
from service.planning.run_kinds import plan
from tests.service.planning.planning_world import planning_context

SOURCES: list[dict[str, Any]] = [{"dataset": "qa"}]


def planned(**changes: Any) -> dict[str, Any]:
    spec = {"model": "demo", "sources": SOURCES, **changes}
    return dict(plan("map", spec, context=planning_context()).spec)


def names(*sources: dict[str, Any], **changes: Any) -> list[str]:
    return [source["name"] for source in planned(sources=list(sources), **changes)["sources"]]


def test_layers_are_counted_from_the_first_and_sorted() -> None:
    assert planned(layers=[-1, 0, 2])["layers"] == [0, 2, 4]


def test_sources_are_completed_and_named() -> None:
    spec = planned(
        sources=[
            {"dataset": "qa", "split": "test", "n": 500, "prompt_ref": "soft"},
            {"prompts": ["soft", "soft2"]},
            {"texts": ["a"], "name": "mine"},
            {"embeddings": "vocabulary"},
            {"prior": {"kind": "xavier"}, "n": 7},
            {"trajectories": {"dataset": "qa", "n": 50}},
        ]
    )
    dataset, prompts, *_, trajectories = spec["sources"]
    assert (dataset["n"], dataset["prompt_ref"]) == (10, "soft@3")
    assert prompts["prompts"] == ["soft@3", "soft2@3"]
    assert trajectories["trajectories"]["n"] == 10
    assert [source["name"] for source in spec["sources"]] == [
        "qa/test under soft@3",
        "prompts",
        "mine",
        "vocabulary",
        "xavier prior",
        "trajectories of qa",
    ]


def test_what_was_planned_can_be_planned_again() -> None:
    mix = {"mix": [{"ref": "soft", "weight": 0.5}, {"ref": "soft2", "weight": 0.5}]}
    spec = planned(sources=[{"texts": ["a"] * 5, "prompt_ref": mix}, {"prompts": ["carried"]}], layers=[1, 2])
    assert plan("map", spec, context=planning_context()).spec == spec
    assert spec["sources"][0]["prompt_ref"]["mix"][1] == {"ref": "soft2@3", "weight": 0.5}


def test_equal_names_are_told_apart() -> None:
    assert names({"dataset": "qa"}, {"dataset": "qa", "seed": 1}, {"dataset": "qa", "seed": 2}) == [
        "qa",
        "qa (2)",
        "qa (3)",
    ]
    assert names({"dataset": "qa"}, {"texts": ["a"], "name": "qa"}) == ["qa (2)", "qa"]


@pytest.mark.parametrize(
    ("changes", "loc", "says"),
    [
        ({"model": "nobody"}, ("model",), "No model"),
        ({"layers": [5]}, ("layers", 0), "0 to 4"),
        ({"layers": [1, -4]}, ("layers", 1), "item 1 repeats item 0: 1."),
        ({"method": "tsne", "n_components": 3}, ("n_components",), "2 dimensions"),
        ({"sources": [{"dataset": "none"}]}, ("sources", 0, "dataset"), "no dataset"),
        ({"sources": [{"dataset": "train-only", "split": "test"}]}, ("sources", 0, "split"), "test"),
        (
            {"sources": [{"dataset": "qa", "template": {"input": "{nothing}", "target": "{answer}"}}]},
            ("sources", 0, "template", "input"),
            "nothing",
        ),
        ({"sources": [{"texts": ["a"] * 5, "prompt_ref": "none"}]}, ("sources", 0, "prompt_ref"), "no prompt"),
        ({"sources": [{"texts": ["a"] * 5, "prompt_ref": "foreign"}]}, ("sources", 0, "prompt_ref"), "other"),
        ({"sources": [{"prompts": ["soft", "none"]}]}, ("sources", 0, "prompts", 1), "no prompt"),
        (
            {"sources": [{"prompts": ["soft", "soft@3"]}]},
            ("sources", 0, "prompts", 1),
            "item 1 repeats item 0: 'soft@3'.",
        ),
        ({"sources": [{"prompts": ["prefix"]}]}, ("sources", 0, "prompts", 0), "keys and values"),
        ({"sources": [{"prompts": ["deep"]}], "layers": [0, 2]}, ("sources", 0, "prompts", 0), "none of the map's"),
        ({"sources": [{"prompts": ["carried"]}], "layers": [0]}, ("sources", 0, "prompts", 0), "none of the map's"),
        (
            {"sources": [{"prior": {"kind": "posterior", "prompts": ["soft"], "fit": "gaussian"}}], "layers": [2]},
            ("sources", 0, "prior", "prompts", 0),
            "deep prompt",
        ),
        ({"sources": [{"trajectories": {}}]}, ("sources", 0, "trajectories"), "one of the two"),
        (
            {"sources": [{"trajectories": {"inputs": ["a"], "max_tokens": 64}}]},
            ("sources", 0, "trajectories", "max_tokens"),
            "64 positions",
        ),
        ({"sources": [{"embeddings": "vocabulary"}], "layers": [1]}, ("sources", 0, "embeddings"), "layer 0"),
        ({"sources": [{"texts": ["a", "b"]}]}, ("sources",), "at least 5"),
        ({"sources": [{"texts": ["a"], "name": "x"}, {"texts": ["a"], "name": "x"}]}, ("sources", 1, "name"), "'x'"),
    ],
)
def test_what_cannot_work_is_refused_where_it_stands(changes: dict[str, Any], loc: tuple[Any, ...], says: str) -> None:
    with pytest.raises(AtlasError) as caught:
        planned(**changes)
    assert caught.value.loc == ("spec", *loc)
    assert says in caught.value.detail


def test_a_carried_prompt_counts_above_its_vectors_and_a_local_one_does_not() -> None:
    assert planned(sources=[{"prompts": ["carried"]}], layers=[1, 2])["layers"] == [1, 2]
    with pytest.raises(AtlasError, match="at most 0 at layer 2"):
        planned(sources=[{"prompts": ["deep"]}], layers=[1, 2])
