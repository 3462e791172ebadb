from __future__ import annotations

import pickle
from typing import Any

import pytest
from promptatlas.types import SampleBody, TuneSpec

from service.planning.specs import BrokenSpec, dump_spec, parse_spec
from tests.service.planning.planning_world import tune_spec

KNN = {"kind": "knn", "fit": {"embeddings": "vocabulary"}}


@pytest.mark.parametrize(
    ("changes", "loc"),
    [
        ({"method": {"kind": "deep", "layers": [1, "x"]}}, ("method", "layers", 1)),
        ({"method": {"kind": "wide"}}, ("method",)),
        ({"priors": [{"kind": "text", "text": 5}]}, ("priors", 0, "text")),
        ({"priors": [{"kind": "text"}]}, ("priors", 0, "text")),
        ({"priors": [{"kind": "xavier"}, {"kind": "isotropic", "std": -1}]}, ("priors", 1, "std")),
        ({"priors": [7]}, ("priors", 0)),
        ({"optimizer": {"lr": [0.1, 0]}}, ("optimizer", "lr", 1)),
        ({"optimizer": {"lr": "fast"}}, ("optimizer", "lr")),
        ({"optimizer": {"betas": [0.9, 1.5]}}, ("optimizer", "betas", 1)),
        ({"colour": "red"}, ("colour",)),
        ({"dataset": None}, ("dataset",)),
        (
            {"priors": [{**KNN, "fit": {"embeddings": {"dataset": "qa", "n": 1}}}]},
            ("priors", 0, "fit", "embeddings", "n"),
        ),
        (
            {"priors": [{**KNN, "fit": {"activations": {"dataset": "qa", "layer": "top"}}}]},
            ("priors", 0, "fit", "activations", "layer"),
        ),
        (
            {"priors": [{**KNN, "fit": {"activations": {"split": "train"}}}]},
            ("priors", 0, "fit", "activations", "dataset"),
        ),
        (
            {"priors": [{"kind": "interpolation", "from": {"kind": "isotropic", "std": 0}, "to": {"kind": "xavier"}}]},
            ("priors", 0, "from", "std"),
        ),
    ],
)
def test_what_is_wrong_is_named_by_where_it_stands(changes: dict[str, Any], loc: tuple[str | int, ...]) -> None:
    with pytest.raises(BrokenSpec) as caught:
        parse_spec(TuneSpec, tune_spec(**changes), at=("spec",))
    assert {fault.loc for fault in caught.value.faults} == {("spec", *loc)}
    assert caught.value.loc == ("spec", *loc)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(BrokenSpec) as caught:
        parse_spec(TuneSpec, {"model": "demo", "seeds": [-1]}, at=())
    assert {fault.loc for fault in caught.value.faults} == {("dataset",), ("priors",), ("seeds", 0)}


def test_a_source_that_is_of_no_form_names_what_it_could_be() -> None:
    with pytest.raises(BrokenSpec) as caught:
        parse_spec(SampleBody, {"model": "demo", "prior": {**KNN, "fit": {}}}, at=())
    assert {fault.loc for fault in caught.value.faults} == {
        ("prior", "fit", "embeddings"),
        ("prior", "fit", "activations"),
    }


@pytest.mark.parametrize("value", [10**5000, float("nan"), float("inf")], ids=["huge", "nan", "inf"])
def test_numbers_that_no_spec_may_hold_are_refused(value: Any) -> None:
    with pytest.raises(BrokenSpec):
        parse_spec(TuneSpec, tune_spec(regularize={"weight": value}), at=())


def test_what_is_nested_without_end_is_refused() -> None:
    spec: dict[str, Any] = {"kind": "xavier"}
    for _ in range(100_000):
        spec = {"from": spec}
    with pytest.raises(BrokenSpec):
        parse_spec(TuneSpec, tune_spec(priors=[spec]), at=())


def test_a_complete_spec_is_its_own_spec() -> None:
    prior = {"kind": "interpolation", "from": {"kind": "isotropic"}, "to": {"kind": "xavier"}}
    spec = parse_spec(TuneSpec, tune_spec(priors=[prior]), at=())
    dumped = dump_spec(spec)
    assert dumped["priors"][0]["from"] == {"kind": "isotropic", "std": 0.02}
    assert dumped["optimizer"]["betas"] == [0.9, 0.999]
    assert dump_spec(parse_spec(TuneSpec, dumped, at=())) == dumped


def test_it_survives_pickling() -> None:
    with pytest.raises(BrokenSpec) as caught:
        parse_spec(TuneSpec, {}, at=())
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (copied.detail, copied.loc) == (caught.value.detail, caught.value.loc)
