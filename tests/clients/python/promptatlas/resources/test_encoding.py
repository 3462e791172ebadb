from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from promptatlas import errors, types
from promptatlas.resources.encoding import checked, plain
from promptatlas.transport.call import reader

MIXED = types.InterpolationPrior.model_validate({"from": {"kind": "xavier"}, "to": types.VocabularyPrior()})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.int64(3), 3),
        ((1, (2, 3)), [1, [2, 3]]),
        (range(3), [0, 1, 2]),
        ([np.float32(0.5), "a", b"x"], [0.5, "a", b"x"]),
        (OrderedDict({7: (1,)}), {"7": [1]}),
        (slice(2, None), {"start": 2, "stop": None}),
        (slice(None, -1, 1), {"start": None, "stop": -1}),
        (types.Mix(mix=[types.MixPart(ref="a@1", weight=1)]), {"mix": [{"ref": "a@1", "weight": 1.0}]}),
        (types.IsotropicPrior(), {"kind": "isotropic"}),
        ([types.SoftMethod(n_virtual=4)], [{"kind": "soft", "n_virtual": 4}]),
        (MIXED, {"kind": "interpolation", "from": {"kind": "xavier"}, "to": {"kind": "vocabulary"}}),
        (None, None),
    ],
)
def test_values_become_json(value: Any, expected: Any) -> None:
    assert plain(value) == expected


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    assert plain({"inputs": [torch.tensor([1, 2])]}) == {"inputs": [[1, 2]]}


def test_slices_with_a_step_are_refused() -> None:
    with pytest.raises(ValueError, match="step 2"):
        plain(slice(0, 9, 2))


def test_only_what_was_given_is_sent() -> None:
    body = checked(types.CompletionRequest, {"model": "demo", "prompt": (1, 2), "stop": ("a",)})
    assert body == {"model": "demo", "prompt": [1, 2], "stop": ["a"]}


def test_names_are_those_of_the_wire() -> None:
    prior = {"kind": "interpolation", "from": {"kind": "xavier"}, "to": {"kind": "vocabulary"}}
    assert checked(types.SampleBody, {"model": "demo", "prior": MIXED}) == {"model": "demo", "prior": prior}


def test_errors_have_the_servers_locations() -> None:
    with pytest.raises(errors.InvalidRequestError) as caught:
        checked(types.CompletionRequest, {"model": "demo", "prompt": "x", "temprature": 1, "n": 0})
    assert caught.value.status == 422
    assert [item.loc for item in caught.value.errors] == [["n"], ["temprature"]]
    assert "temprature: Extra inputs are not permitted" in str(caught.value)


def test_other_responses_are_unexpected() -> None:
    with pytest.raises(errors.UnexpectedAnswerError, match="expected a Health, but status"):
        reader(types.Health)(b'{"status": 3}')
    with pytest.raises(errors.UnexpectedAnswerError, match="expected a Health, but body"):
        reader(types.Health)(b"<html>")
