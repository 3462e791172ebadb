from __future__ import annotations

import dataclasses
import hashlib
import struct
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as torch_save

from service.errors import DamagedArtifact, InvalidRequest, NotFound
from service.store.artifacts.tensor_codec import decode, encode
from service.store.prompts.checks import BaseShape
from service.store.prompts.headers import MAX_NOTES_BYTES
from service.store.prompts.native_format import make_prompt, parse_native
from service.store.prompts.stored_format import read_stored

SOFT = {"kind": "soft", "base": "tiny"}
DEEP = {"kind": "deep", "base": "tiny"}
PREFIX = {"kind": "prefix", "base": "tiny"}


def vectors(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def test_soft(base: BaseShape) -> None:
    values = vectors(4, 7)
    prompt = parse_native(encode({"soft": values}, metadata={**SOFT, "notes": {"by": "me"}}), bases=[base])
    assert (prompt.kind, prompt.base, prompt.base_revision) == ("soft", "tiny", "rev-1")
    assert (prompt.n_virtual, prompt.d_model, prompt.layers, prompt.where) == (4, 7, None, None)
    assert prompt.notes == {"by": "me"}
    np.testing.assert_array_equal(prompt.tensors["soft"], values)


def test_deep_is_local_unless_it_says_carried(base: BaseShape) -> None:
    tensors = {"deep.2": vectors(4, 7), "deep.0": vectors(4, 7) + 1}
    local = parse_native(encode(tensors, metadata=DEEP), bases=[base])
    carried = parse_native(encode(tensors, metadata={**DEEP, "where": "carried"}), bases=[base])
    assert (local.where, local.layers, local.n_virtual) == ("local", (0, 2), 4)
    assert carried.where == "carried"
    assert local.sha256 != carried.sha256
    assert local.sha256 == parse_native(encode(tensors, metadata={**DEEP, "where": "local"}), bases=[base]).sha256


def test_prefix(base: BaseShape) -> None:
    prompt = parse_native(encode({"prefix": vectors(3, 2, 2, 11, 5)}, metadata=PREFIX), bases=[base])
    assert (prompt.n_virtual, prompt.layers, prompt.d_model) == (11, (0, 1, 2), 7)


def test_steering(base: BaseShape) -> None:
    tensors = {"steering.2": vectors(7), "steering.0": vectors(7) + 1}
    prompt = parse_native(encode(tensors, metadata={"kind": "steering", "base": "tiny"}), bases=[base])
    assert (prompt.n_virtual, prompt.layers, prompt.where) == (0, (0, 2), None)
    np.testing.assert_array_equal(prompt.tensors["steering.2"], tensors["steering.2"])
    for bad, message in (
        ({"steering.3": vectors(7)}, "layers 0 to 2"),
        ({"steering.1": vectors(1, 7)}, r"\[7\] for tiny"),
        ({"steering": vectors(7)}, "'steering.0', 'steering.1', …"),
        ({"steering.01": vectors(7)}, "'steering.0', 'steering.1', …"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            parse_native(encode(bad, metadata={"kind": "steering", "base": "tiny"}), bases=[base])
    with pytest.raises(InvalidRequest, match="'where' is for deep prompts"):
        parse_native(encode(tensors, metadata={"kind": "steering", "base": "tiny", "where": "local"}), bases=[base])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float32])
def test_every_float_is_stored_as_float32(base: BaseShape, dtype: torch.dtype) -> None:
    values = torch.linspace(-3, 3, 28).reshape(4, 7).to(dtype)
    data = torch_save({"soft": values}, metadata={"promptatlas": '{"kind":"soft","base":"tiny"}'})
    prompt = parse_native(data, bases=[base])
    assert prompt.tensors["soft"].dtype == np.float32
    np.testing.assert_array_equal(prompt.tensors["soft"], values.to(torch.float32).numpy())


def with_value(value: float, dtype: Any = np.float32) -> dict[str, Any]:
    values = vectors(4, 7, dtype=dtype)
    values[2, 5] = value
    return {"soft": values}


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"soft": vectors(4, 7)}, None, "needs header metadata"),
        ({"soft": vectors(4, 7)}, [1], "promptatlas: "),
        ({"soft": vectors(4, 7)}, {"base": "tiny"}, "promptatlas.kind: Field required"),
        ({"soft": vectors(4, 7)}, {"kind": "soft"}, "promptatlas.base: Field required"),
        (
            {"soft": vectors(4, 7)},
            {**SOFT, "kind": "hard"},
            "promptatlas.kind: .*'soft', 'deep', 'prefix', 'steering' or 'posterior'",
        ),
        ({"soft": vectors(4, 7)}, {**SOFT, "base_rev": "x"}, "promptatlas.base_rev"),
        ({"soft": vectors(4, 7)}, {**SOFT, "base": "huge"}, "'huge', which is not hosted here; hosted: 'tiny'"),
        ({"soft": vectors(4, 7)}, {**SOFT, "base_revision": "rev-0"}, "'rev-0' of tiny; hosted is 'rev-1'"),
        ({"soft": vectors(4, 7)}, {**SOFT, "where": "local"}, "'where' is for deep"),
        ({"soft": vectors(4, 7)}, {**DEEP, "where": "above"}, "promptatlas.where"),
        ({"soft": vectors(4, 7)}, {**SOFT, "notes": "x" * MAX_NOTES_BYTES}, "Notes may have"),
        ({"soft": vectors(4, 8)}, SOFT, r"shape \[n_virtual, 7\] for tiny; it has \[4, 8\]"),
        ({"soft": vectors(7)}, SOFT, r"it has \[7\]"),
        ({"soft": vectors(0, 7)}, SOFT, "n_virtual must be at least 1"),
        ({"soft": vectors(31, 7)}, SOFT, "less than the 31 positions"),
        ({"soft": vectors(4, 7), "more": vectors(1)}, SOFT, "one tensor, 'soft'; this one holds 'more', 'soft'"),
        ({"prefix": vectors(4, 7)}, SOFT, "this one holds 'prefix'"),
        ({}, SOFT, "holds none"),
        (with_value(np.nan), SOFT, r"1 of 28 values that are not finite, the first at \[2, 5\]"),
        (with_value(-np.inf), SOFT, "not finite"),
        (with_value(1e39, np.float64), SOFT, r"too large for float32, the first at \[2, 5\]"),
        ({"soft": np.ones((4, 7), np.int32)}, SOFT, "floating-point values; it holds int32"),
        ({"soft": np.ones((4, 7), bool)}, SOFT, "it holds bool"),
        ({}, DEEP, "this one holds none"),
        ({"deep.x": vectors(4, 7)}, DEEP, "'deep.x'"),
        ({"deep.01": vectors(4, 7)}, DEEP, "'deep.01'"),
        ({"deep.-1": vectors(4, 7)}, DEEP, "'deep.-1'"),
        ({"deep.3": vectors(4, 7)}, DEEP, "layers 0 to 2; the prompt names layer 3"),
        ({"deep.0": vectors(4, 7), "deep.1": vectors(3, 7)}, DEEP, r"the same n_virtual; these have \[3, 4\]"),
        ({"prefix": vectors(3, 2, 2, 11, 4)}, PREFIX, r"\[3, 2, 2, n_virtual, 5\] for tiny; it has \[3, 2, 2, 11, 4\]"),
        ({"prefix": vectors(2, 2, 2, 11, 5)}, PREFIX, "must have shape"),
        ({"prefix": vectors(3, 2, 2, 31, 5)}, PREFIX, "less than the 31 positions"),
    ],
)
def test_what_does_not_fit_is_refused(base: BaseShape, tensors: Any, metadata: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_native(encode(tensors, metadata=metadata), bases=[base])


def test_the_base_named_beside_the_file_counts_and_must_agree(base: BaseShape) -> None:
    other = dataclasses.replace(base, name="other")
    bare = encode({"soft": vectors(4, 7)}, metadata={"kind": "soft"})
    assert parse_native(bare, bases=[base, other], base="other").base == "other"
    named = encode({"soft": vectors(4, 7)}, metadata=SOFT)
    with pytest.raises(InvalidRequest, match="says it is for 'tiny', the request says 'other'"):
        parse_native(named, bases=[base, other], base="other")
    with pytest.raises(NotFound, match="No model 'none-such'"):
        parse_native(named, bases=[base], base="none-such")


def test_only_what_acts_on_the_model_makes_the_hash(base: BaseShape) -> None:
    values = vectors(4, 7)
    one = make_prompt("soft", tensors={"soft": values}, base=base)
    same = make_prompt("soft", tensors={"soft": values.astype(np.float64)}, base=base, notes="other notes")
    touched = values.copy()
    touched[0, 0] = np.nextafter(touched[0, 0], np.float32(9))
    assert one.sha256 == same.sha256
    assert one.sha256 != make_prompt("soft", tensors={"soft": touched}, base=base).sha256


def test_the_hash_tells_shapes_names_and_kinds_apart(base: BaseShape) -> None:
    values = vectors(4, 7)
    wide = dataclasses.replace(base, d_model=14)
    prompts = [
        make_prompt("soft", tensors={"soft": values}, base=base),
        make_prompt("soft", tensors={"soft": values.reshape(2, 14)}, base=wide),
        make_prompt("deep", tensors={"deep.0": values}, base=base),
        make_prompt("deep", tensors={"deep.1": values}, base=base),
    ]
    assert len({prompt.sha256 for prompt in prompts}) == len(prompts)


def test_the_hash_is_fixed_for_ever(base: BaseShape) -> None:
    prompt = make_prompt("soft", tensors={"soft": np.arange(14, dtype=np.float32).reshape(2, 7)}, base=base)
    text = b'{"kind":"soft","tensors":[["soft",[2,7]]],"where":null}\n' + struct.pack("<14f", *range(14))
    assert prompt.sha256 == f"sha256:{hashlib.sha256(text).hexdigest()}"


def test_what_is_stored_can_be_uploaded_again(base: BaseShape) -> None:
    prompt = make_prompt("deep", tensors={"deep.1": vectors(4, 7)}, base=base, where="carried", notes=[1, "two"])
    again = parse_native(prompt.to_bytes(), bases=[base])
    assert again.sha256 == prompt.sha256
    assert again.to_bytes() == prompt.to_bytes()
    assert decode(prompt.to_bytes()).metadata == {
        "kind": "deep",
        "base": "tiny",
        "base_revision": "rev-1",
        "where": "carried",
        "notes": [1, "two"],
    }


def test_a_stored_file_that_is_no_prompt_is_damaged() -> None:
    for data in (b"junk", encode({"soft": vectors(4, 7)})):
        with pytest.raises(DamagedArtifact, match="prompt qa@3"):
            read_stored(data, label="prompt qa@3", n_virtual=4, d_model=7, layers=None)
