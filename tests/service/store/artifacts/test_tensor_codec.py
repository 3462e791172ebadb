from __future__ import annotations

import json
import random
import struct
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as torch_save

from service.errors import AtlasError, InvalidRequest, TooLarge
from service.store.artifacts.tensor_codec import MAX_HEADER_BYTES, MAX_TENSORS, decode, encode, parse_json


def raw(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype: str = "F32", shape: tuple[int, ...] = (2,), at: tuple[int, int] = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(at)}


def test_what_goes_in_comes_out() -> None:
    tensors: dict[str, Any] = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.array([1, -2], dtype=np.int64),
        "scalar": np.array(2.5, dtype=np.float64),
        "empty": np.zeros((0, 3), dtype=np.float16),
        "flags": np.array([True, False]),
    }
    file = decode(encode(tensors, metadata={"kind": "soft", "notes": "ä"}))
    assert file.metadata == {"kind": "soft", "notes": "ä"}
    assert set(file.tensors) == set(tensors)
    for name, values in tensors.items():
        np.testing.assert_array_equal(file.tensors[name], values)
        assert file.tensors[name].dtype == values.dtype
        assert file.tensors[name].shape == values.shape


def test_the_same_content_gives_the_same_bytes_whatever_the_order() -> None:
    a, b = np.ones(3, dtype=np.float32), np.zeros(2, dtype=np.float32)
    one = encode({"a": a, "b": b}, metadata={"x": 1, "y": 2})
    assert one == encode({"b": b, "a": a}, metadata={"y": 2, "x": 1})


def test_a_transposed_array_is_written_as_it_reads() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3).T
    np.testing.assert_array_equal(decode(encode({"a": values})).tensors["a"], values)


def test_bfloat16_from_torch_is_widened_exactly() -> None:
    values = torch.tensor([[1.0, -3.1415926, 1e-30], [3e38, 0.0, -0.0]], dtype=torch.bfloat16)
    file = decode(torch_save({"v": values}))
    assert file.dtypes == {"v": "BF16"}
    assert file.tensors["v"].dtype == np.float32
    np.testing.assert_array_equal(file.tensors["v"], values.to(torch.float32).numpy())


def test_our_files_are_read_by_the_library() -> None:
    from safetensors.numpy import load

    np.testing.assert_array_equal(load(encode({"a": np.ones(3, np.float32)}, metadata={}))["a"], np.ones(3))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "at least 8 bytes"),
        (b"1234567", "at least 8 bytes"),
        (struct.pack("<Q", 2**63) + b"{}", "declares a header"),
        (raw({"a": entry()}, b"x" * 8)[:-1], "valid safetensors"),
        (raw({"a": entry()}, b"x" * 9), "valid safetensors"),
        (raw(b"[1]"), "must be a JSON object"),
        (raw(b"{nope"), "not valid JSON"),
        (raw(b"\xff\xfe{}"), "not valid JSON"),
        (raw(b"[" * 100_000), "nested too deeply"),
        (raw({"a": entry(), "b": entry()}, b"x" * 8), "valid safetensors"),
        (raw(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2), b"x" * 8), "'a' twice"),
        (raw({"a": entry(shape=(2**40, 2**40))}, b"x" * 8), "valid safetensors"),
        (raw({"a": entry(shape=(3,))}, b"x" * 8), "valid safetensors"),
        (raw({"a": entry(shape=(-2,))}, b"x" * 8), "valid safetensors"),
        (raw({"a": entry(at=(4, 12))}, b"x" * 12), "valid safetensors"),
        (raw({"a": entry(at=(8, 0))}, b"x" * 8), "valid safetensors"),
        (raw({"a": {"dtype": "F32"}}, b"x" * 8), "valid safetensors"),
        (raw({"a": entry(dtype="PICKLE")}, b"x" * 8), "valid safetensors"),
        (raw({"a": entry(dtype="F8_E4M3", at=(0, 2))}, b"xx"), "dtype F8_E4M3"),
        (raw({"__metadata__": {"promptatlas": 3}}), "valid safetensors"),
        (raw({"__metadata__": [1]}), "valid safetensors"),
        (raw({"__metadata__": {"promptatlas": "{"}}), "not valid JSON"),
        (raw({"__metadata__": {"promptatlas": '{"a":NaN}'}}), "not valid JSON"),
        (raw({"__metadata__": {"promptatlas": '{"a":1e999}'}}), "not valid JSON"),
        (raw({"__metadata__": {"promptatlas": '{"a":"\\ud800"}'}}), "not valid JSON"),
        (raw({"__metadata__": {"promptatlas": "9" * 5000}}), "not valid JSON"),
        (raw({"__metadata__": {"promptatlas": '{"a":1,"a":2}'}}), "'a' twice"),
        (raw({"__metadata__": {"promptatlas": "[" * 100_000}}), "nested too deeply"),
    ],
)
def test_malformed_files_are_refused_with_a_reason(data: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        decode(data)


def test_a_huge_header_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(TooLarge, match=str(MAX_HEADER_BYTES)):
        decode(raw(b" " * (MAX_HEADER_BYTES + 1)))


def test_too_many_tensors_are_refused() -> None:
    header = {f"t{i}": entry(shape=(0,), at=(0, 0)) for i in range(MAX_TENSORS + 1)}
    with pytest.raises(TooLarge, match=str(MAX_TENSORS)):
        decode(raw(header))


def test_mutated_files_are_read_or_refused_and_nothing_else() -> None:
    good = encode({"soft": np.ones((2, 3), np.float32), "x": np.arange(3)}, metadata={"kind": "soft", "base": "b"})
    draw = random.Random(0)
    n_refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.2:
            del data[draw.randrange(len(data)) :]
        try:
            decode(bytes(data))
        except AtlasError as error:
            n_refused += bool(error.detail)
    assert n_refused > 500


def test_a_pickle_is_no_safetensors_file() -> None:
    import pickle

    with pytest.raises(InvalidRequest):
        decode(pickle.dumps({"soft": [1.0] * 100}))


def test_json_is_strict() -> None:
    assert parse_json('{"a":[1,2.5,"x",null,true]}', what="It") == {"a": [1, 2.5, "x", None, True]}
    with pytest.raises(InvalidRequest, match="It has the name 'b' twice"):
        parse_json('{"a":{"b":1,"b":2}}', what="It")
