from __future__ import annotations

from typing import Any

import pytest

from service.errors import AtlasError
from service.planning.run_kinds import Plan, plan
from tests.service.planning.planning_world import planning_context


def sampling(prior: Any, **changes: Any) -> Plan:
    return plan("sample", {"model": "demo", "prior": prior, **changes}, context=planning_context(), at=())


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
