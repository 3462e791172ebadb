"""Files of ``torch.save``, read without torch: those that torch writes, and those that it does not."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from service.api.openai.torch_file import read_torch_file
from service.errors import InvalidRequest


def saved(value: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def rewritten(data: bytes, /, **changed: bytes | None) -> bytes:
    """The zip file with other contents of some entries, by the last part of their names; None leaves one out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            key = info.filename.rpartition("/")[2].removesuffix(".pkl")
            content = changed.get(key, old.read(info))
            if content is not None:
                new.writestr(info.filename, content)
    return buffer.getvalue()


def pickle_of(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read("archive/data.pkl")


BASE = torch.arange(84, dtype=torch.float32).reshape(7, 12) / 7 - 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "make",
    [
        lambda t: t,
        lambda t: t[None],
        lambda t: t[2:5],
        lambda t: t[::2, 3:],
        lambda t: t.T,
        torch.nn.Parameter,
        lambda t: t.clone().requires_grad_(),
    ],
)
def test_what_torch_saves_is_read(make: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype) -> None:
    tensor = make(BASE.to(dtype))
    found = read_torch_file(saved(tensor))
    assert found.shape == tuple(tensor.shape)
    values = found.values()
    assert values.dtype == np.float32
    assert np.array_equal(values, tensor.detach().float().numpy())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickle_that_torch_offers(protocol: int) -> None:
    assert np.array_equal(read_torch_file(saved(BASE, pickle_protocol=protocol)).values(), BASE.numpy())


def test_the_most_positive_and_negative_numbers_survive() -> None:
    extremes = torch.tensor([[torch.finfo(torch.bfloat16).max, torch.finfo(torch.bfloat16).tiny, -0.0]]).bfloat16()
    assert np.array_equal(read_torch_file(saved(extremes)).values(), extremes.float().numpy())


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (BASE.double(), "float32, float16 or bfloat16, got one of DoubleStorage"),
        (BASE.int(), "got one of IntStorage"),
        (BASE > 0, "got one of BoolStorage"),
        (torch.complex(BASE, BASE), "got one of ComplexFloatStorage"),
        (BASE.to_sparse(), r"it names torch\._utils\._rebuild_sparse_tensor"),
        ({"soft": BASE}, "it has the opcode EMPTY_DICT"),
        ([BASE], "it has the opcode EMPTY_LIST"),
        ((BASE, BASE), "it is not one tensor"),
        (3, "it is not one tensor"),
        (None, "it has the opcode NONE"),
        (np.zeros(3), r"it names numpy"),
        (torch.nn.Linear(2, 2), r"it names torch\.nn\.modules\.linear\.Linear"),
        (torch.device("cpu"), r"it names torch\.device"),
    ],
)
def test_other_values_are_refused(value: object, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        read_torch_file(saved(value))


class Evil:
    """Runs a function when it is unpickled."""

    def __init__(self, *call: Any) -> None:
        self._call = call

    def __reduce__(self) -> Any:
        return self._call[0], tuple(self._call[1:])


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "call",
    [
        (os.system, "touch {}"),
        (eval, "open('{}', 'w')"),
        (exec, "open('{}', 'w').close()"),
        (subprocess.check_call, ["touch", "{}"]),
        (open, "{}", "w"),
        (getattr, int, "real"),
    ],
    ids=["system", "eval", "exec", "subprocess", "open", "getattr"],
)
def test_no_function_of_a_hostile_pickle_is_called(tmp_path: Any, call: tuple[Any, ...], protocol: int) -> None:
    trace = tmp_path / "trace"
    filled = [
        [part.format(trace) for part in one]
        if isinstance(one, list)
        else one.format(trace)
        if isinstance(one, str)
        else one
        for one in call
    ]
    hostile = pickle.dumps(Evil(*filled), protocol=protocol)
    with pytest.raises(InvalidRequest, match=r"Expected the pickle that torch\.save writes for one dense tensor"):
        read_torch_file(rewritten(saved(BASE), data=hostile))
    assert not trace.exists()


def test_a_hostile_call_behind_a_good_tensor_is_not_called(tmp_path: Any) -> None:
    good = pickle_of(saved(BASE))
    assert good.endswith(b".")
    call = b"cos\nsystem\nX" + len(b"touch x").to_bytes(4, "little") + b"touch x\x85R0."
    with pytest.raises(InvalidRequest, match=r"it names os\.system"):
        read_torch_file(rewritten(saved(BASE), data=good[:-1] + call))


@pytest.mark.parametrize(
    ("pickled", "says"),
    [
        (b"", "damaged"),
        (b"\x80\x02", "damaged"),
        (b".", "a value is missing"),
        (b"\x80\x02R.", "a value is missing"),
        (b"\x80\x02t.", "a value is missing"),
        (b"\x80\x02h\x07.", "damaged"),
        (b"\x80\x02(K\x01.", "it is not one tensor"),
        (b"\x80\x02K\x01K\x02R.", "it calls a value"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "it calls a value"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", "it has a dictionary"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "its tensor is described in another way"),
        (b"\x80\x02K\x01Q.", "its data is described in another way"),
        (b"\x80\x02\x82\x01.", "it has the opcode EXT1"),
        (b"Pevil\n.", "it has the opcode PERSID"),
        (b"\x80\x02cos\nsystem\n", "it names os.system"),
        (b"\xff" * 40, "damaged"),
        (b"(" * 60_000 + b".", "it is not one tensor|a value is missing"),
        (b"N" * 70_000, "70000 bytes; the limit is 65536"),
    ],
)
def test_pickles_that_torch_does_not_write(pickled: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        read_torch_file(rewritten(saved(BASE), data=pickled))


def patched(old: bytes, new: bytes) -> bytes:
    data = saved(BASE)
    pickled = pickle_of(data)
    assert pickled.count(old) == 1
    return rewritten(data, data=pickled.replace(old, new))


@pytest.mark.parametrize(
    "data",
    [
        patched(b"K\x07K\x0c\x86", b"K\x08K\x0c\x86"),  # a row more than there is
        patched(b"K\x0cK\x01\x86", b"K\x0dK\x01\x86"),  # a longer stride
        patched(b"QK\x00", b"QK\x01"),  # a later start
        patched(b"K\x54tq", b"K\x53tq"),  # a storage that says to be shorter
        rewritten(saved(BASE), **{"0": b"\0" * 335}),  # and one that is
    ],
)
def test_values_outside_of_the_data_are_not_read(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="The tensor reads value"):
        read_torch_file(data)


def test_negative_sizes_are_refused() -> None:
    for old in (b"K\x07K\x0c\x86", b"K\x0cK\x01\x86"):
        with pytest.raises(InvalidRequest, match="its tensor is described in another way"):
            read_torch_file(patched(old, b"J\xff\xff\xff\xff" + old[2:]))


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(1).expand(1 << 40), BASE[3:4].expand(8, 12), BASE.flatten().as_strided((7, 13), (11, 1))],
)
def test_a_shape_of_more_values_than_the_data_is_refused(tensor: torch.Tensor) -> None:
    """A stride of zero makes any shape of one value: a few bytes would take any memory."""
    with pytest.raises(InvalidRequest, match=r"repeats its data, as after expand\(\)\. Save tensor\.contiguous\(\)"):
        read_torch_file(saved(tensor))
    if tensor.numel() < 1000:
        assert read_torch_file(saved(tensor.contiguous())).shape == tuple(tensor.shape)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK\x03\x04", "truncated or damaged"),
        (saved(BASE)[:300], "truncated or damaged"),
        (rewritten(saved(BASE), data=None), r"without data\.pkl"),
        (rewritten(saved(BASE), **{"0": None}), "no data for its tensor"),
        (rewritten(saved(BASE), byteorder=b"big"), "little-endian"),
    ],
)
def test_other_zip_files_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        read_torch_file(data)


def test_compressed_entries_are_not_inflated() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle_of(saved(BASE)))
        archive.writestr("archive/data/0", b"\0" * 10_000_000)
    with pytest.raises(InvalidRequest, match="got a compressed one"):
        read_torch_file(buffer.getvalue())


def test_too_many_entries_are_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i in range(65):
            archive.writestr(f"archive/data/{i}", b"")
    with pytest.raises(InvalidRequest, match="65 entries"):
        read_torch_file(buffer.getvalue())


def test_random_damage_is_an_error_or_harmless() -> None:
    generator = np.random.default_rng(0)
    good = bytearray(saved(BASE))
    for _ in range(3000):
        data = bytearray(good)
        for at in generator.integers(0, len(data), size=3):
            data[at] = generator.integers(256)
        try:
            found = read_torch_file(bytes(data))
        except InvalidRequest:
            continue
        found.values()
