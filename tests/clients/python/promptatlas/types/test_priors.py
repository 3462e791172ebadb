from __future__ import annotations

from typing import Any

import pytest
from promptatlas.types import Prior
from promptatlas.types.priors import PRIOR_TYPES, BasePrior, PriorFault
from pydantic import TypeAdapter

PRIOR: TypeAdapter[Prior] = TypeAdapter(Prior)
VOCABULARY = {"embeddings": "vocabulary"}
SQUAD = {"activations": {"dataset": "squad"}}


def parsed(**fields: Any) -> BasePrior:
    return PRIOR.validate_python(fields)


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"kind": "isotropic"}, "isotropic"),
        ({"kind": "isotropic", "std": 0.5}, "isotropic(0.5)"),
        ({"kind": "xavier"}, "xavier"),
        ({"kind": "posterior", "prompts": ["qa"]}, "posterior"),
        ({"kind": "vae", "fit": SQUAD}, "vae(squad activations)"),
        ({"kind": "knn", "fit": VOCABULARY}, "knn(vocabulary)"),
        ({"kind": "gaussian", "fit": {"embeddings": {"dataset": "text"}}, "scale": 5.0}, "gaussian(text embeddings)×5"),
        (
            {
                "kind": "interpolation",
                "from": {"kind": "gaussian", "fit": SQUAD},
                "to": {"kind": "isotropic", "std": 2.0},
            },
            "interpolation(squad, isotropic(2))",
        ),
        (
            {
                "kind": "interpolation",
                "from": {"kind": "gaussian", "fit": {"embeddings": {"dataset": "text"}}},
                "to": {"kind": "gaussian", "fit": VOCABULARY},
            },
            "interpolation(text, gaussian(vocabulary))",
        ),
    ],
)
def test_a_label_names_the_kind_and_what_differs(fields: dict[str, Any], label: str) -> None:
    assert parsed(**fields).label == label


def test_which_priors_regularize_and_which_draw_prefixes() -> None:
    by_kind = {str(each.model_fields["kind"].default): each for each in PRIOR_TYPES}
    assert len(by_kind) == len(PRIOR_TYPES) == 11
    assert {kind for kind, each in by_kind.items() if each.can_regularize} == {
        "isotropic",
        "gaussian",
        "exclusion",
        "posterior",
    }
    assert {kind for kind, each in by_kind.items() if each.draws_prefix_directly} == {"isotropic", "xavier"}


@pytest.mark.parametrize(
    ("fields", "n_points", "field"),
    [
        ({"kind": "knn", "fit": VOCABULARY, "k": 10}, 10, "k"),
        ({"kind": "posterior", "prompts": ["qa"], "components": 2}, None, "components"),
        ({"kind": "posterior", "prompts": ["qa"], "fit": "mixture", "components": 6}, 5, "components"),
    ],
)
def test_parameters_that_do_not_suit_the_points(fields: dict[str, Any], n_points: int | None, field: str) -> None:
    with pytest.raises(PriorFault) as caught:
        parsed(**fields).check_points(n_points)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "n_points"),
    [
        ({"kind": "knn", "fit": VOCABULARY, "k": 10}, 11),
        ({"kind": "knn", "fit": SQUAD, "k": 10_000}, None),
        ({"kind": "posterior", "prompts": ["qa"], "fit": "mixture", "components": 5}, 5),
        ({"kind": "posterior", "prompts": ["qa"], "fit": "mixture"}, 2),
        ({"kind": "isotropic"}, None),
    ],
)
def test_parameters_that_suit_the_points(fields: dict[str, Any], n_points: int | None) -> None:
    parsed(**fields).check_points(n_points)


def test_fields_keep_their_order_in_json() -> None:
    dumped = parsed(kind="gaussian", shrinkage="oas", scale=2.0, fit=VOCABULARY).model_dump(mode="json", by_alias=True)
    assert list(dumped) == ["kind", "fit", "scale", "shrinkage"]
