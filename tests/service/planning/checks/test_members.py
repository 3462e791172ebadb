from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from promptatlas.types import TuneSpec

from service.errors import InvalidRequest
from service.planning.checks.members import MAX_MEMBERS, RUN_ID_CHARACTERS, check_members, members_of, prompt_name
from service.planning.specs import parse_spec
from service.store.runs.ids import RunIds
from tests.service.planning.planning_world import tune_spec

ISOTROPIC = {"kind": "isotropic"}


def spec_of(**changes: Any) -> TuneSpec:
    return parse_spec(TuneSpec, tune_spec(**changes), at=())


def names_of(**changes: Any) -> list[str]:
    spec = spec_of(**changes)
    check_members(spec)
    return [prompt_name(spec, member, run_id="run-x") for member in members_of(spec)]


def test_one_member_bears_the_name_itself() -> None:
    assert names_of(name="qa") == ["qa"]
    assert names_of() == ["tuned-run-x"]


def test_several_are_told_apart_by_prior_seed_and_rate() -> None:
    assert names_of(name="qa", priors=[ISOTROPIC, {"kind": "xavier"}], seeds=[5, 0]) == [
        "qa-isotropic-5",
        "qa-isotropic-0",
        "qa-xavier-5",
        "qa-xavier-0",
    ]
    assert names_of(name="qa", optimizer={"lr": [0.001, 0.00001]}) == ["qa-xavier-0-lr0.001", "qa-xavier-0-lr1e-05"]
    twice = [ISOTROPIC, {**ISOTROPIC, "std": 0.5}]
    assert names_of(name="qa", priors=twice) == ["qa-isotropic1-0", "qa-isotropic2-0"]


def test_members_know_what_they_are_made_of() -> None:
    member = members_of(spec_of(priors=[ISOTROPIC, {"kind": "xavier"}], seeds=[3, 4], optimizer={"lr": [0.1, 0.2]}))[-2]
    assert (member.prior_index, member.prior.kind, member.seed, member.lr) == (1, "xavier", 4, 0.1)


@pytest.mark.parametrize(
    ("changes", "loc"),
    [
        ({"optimizer": {"lr": []}}, ("optimizer", "lr")),
        ({"optimizer": {"lr": [0.1, 0.2, 0.1]}}, ("optimizer", "lr", 2)),
        ({"seeds": [1, 2, 2]}, ("seeds", 2)),
        ({"priors": [ISOTROPIC, {"kind": "isotropic", "std": 0.02}]}, ("priors", 1)),
        ({"seeds": list(range(1024)), "optimizer": {"lr": [0.1, 0.2, 0.3, 0.4, 0.5]}}, ("priors",)),
        ({"name": "n" * 54, "seeds": [0, 1234]}, ("name",)),
    ],
)
def test_members_that_cannot_be_are_refused(changes: Any, loc: tuple[str | int, ...]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        names_of(**changes)
    assert caught.value.loc == loc


def test_as_many_as_allowed_and_names_as_long_as_allowed_are_taken() -> None:
    assert len(names_of(seeds=list(range(1024)), optimizer={"lr": [0.1, 0.2, 0.3, 0.4]})) == MAX_MEMBERS
    longest = names_of(name="n" * 53, seeds=[0, 123])
    assert max(map(len, longest)) == 64


def test_a_runs_id_is_as_long_as_is_reckoned_with() -> None:
    assert len(RunIds().new(datetime(2026, 1, 1, tzinfo=timezone.utc))) == RUN_ID_CHARACTERS
