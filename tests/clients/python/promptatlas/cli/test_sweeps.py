from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from promptatlas.cli.sweeps import divide_sweep
from promptatlas.types import TuneSpec

from service.planning.checks.members import members_of, prompt_name

ISOTROPIC = {"kind": "isotropic", "std": 0.1}
VOCABULARY = {"kind": "vocabulary"}
XAVIER = {"kind": "xavier"}
BASE: Mapping[str, Any] = {"model": "demo", "dataset": "demo-qa", "name": "qa", "priors": [ISOTROPIC]}


def members(spec: Mapping[str, Any]) -> list[tuple[str, str, int, float]]:
    """Name, prior, seed and rate of each member, as the service plans them."""
    parsed = TuneSpec.model_validate(spec)
    return [
        (prompt_name(parsed, member, run_id="run-1"), member.prior.model_dump_json(), member.seed, member.lr)
        for member in members_of(parsed)
    ]


SWEEPS: Mapping[str, Mapping[str, Any]] = {
    "seeds": {"seeds": [5, 1, 2, 9, 4]},
    "priors": {"priors": [ISOTROPIC, VOCABULARY, XAVIER], "seeds": [3]},
    "rates": {"optimizer": {"lr": [1e-3, 0.01, 1.0], "steps": 7}, "seeds": [0, 1]},
    "all": {
        "priors": [ISOTROPIC, VOCABULARY],
        "seeds": [0, 1, 2],
        "optimizer": {"lr": [1e-3, 1e-2], "steps": 7},
    },
}


@pytest.mark.parametrize("n_runs", [1, 2, 3, 7])
@pytest.mark.parametrize("name", SWEEPS)
def test_runs_have_every_member_once_under_its_name(name: str, n_runs: int) -> None:
    spec = {**BASE, **SWEEPS[name]}
    found = divide_sweep(spec, n_runs)
    n_longest = {"seeds": 5, "priors": 3, "rates": 3, "all": 3}[name]
    assert len(found) == min(n_runs, n_longest)
    together = list(itertools.chain.from_iterable(map(members, found)))
    assert {member[1:] for member in together} == {member[1:] for member in members(spec)}
    assert len(together) == len(members(spec))
    if not (name == "rates" and n_runs > 1):
        assert sorted(together) == sorted(members(spec))
    else:
        # The rate is in front of prior and seed if a run has only one.
        assert len({member[0] for member in together}) == len(together)
    sizes = [len(members(part)) for part in found]
    assert max(sizes) <= -(-n_longest // len(found)) * len(members(spec)) // n_longest


def test_other_fields_are_unchanged() -> None:
    spec = {**BASE, **SWEEPS["all"]}
    for part in divide_sweep(spec, 3):
        assert {**part, "seeds": spec["seeds"]} == spec


def test_priors_of_one_kind_have_names_of_their_runs() -> None:
    priors = [{"kind": "isotropic", "std": std} for std in (0.1, 0.2, 0.3)]
    found = divide_sweep({**BASE, "priors": priors}, 2)
    assert [[member[0] for member in members(part)] for part in found] == [
        ["qa-1"],
        ["qa-2-isotropic1-0", "qa-2-isotropic2-0"],
    ]


def test_prompts_without_a_name_are_named_by_their_runs() -> None:
    spec = {name: value for name, value in BASE.items() if name != "name"}
    assert [part.get("name") for part in divide_sweep({**spec, "seeds": [1, 2]}, 2)] == [None, None]


def test_a_posterior_is_one_run() -> None:
    spec = {**BASE, "seeds": [1, 2], "posterior": {"method": "ensemble"}}
    assert divide_sweep(spec, 2) == [spec]
