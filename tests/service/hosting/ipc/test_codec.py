from __future__ import annotations

import contextlib
import dataclasses
import enum
import math
import struct
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import service.errors
from service.engine import comparisons, inputs, requests, statistics
from service.engine.requests import Capture, CaptureSpec, Delta, Failed, Generate, Projection, Sampling
from service.errors import AtlasError, Busy
from service.hosting.ipc import messages
from service.hosting.ipc.codec import ERRORS, RECORDS, MalformedFrame, decode, encode
from service.hosting.ipc.messages import Cancel, EngineState, FromApi, FromEngine, Reply, Submit

MESSAGES: tuple[type, ...] = (*get_args(FromApi), *get_args(FromEngine))
INTEGERS = st.integers() | st.integers(min_value=-(2**70), max_value=2**70)
TEXTS = st.text(max_size=8) | st.text(st.characters(categories=["Cs"]), max_size=2)
ARRAYS = st.builds(
    lambda data, dtype: np.frombuffer(data[: len(data) // 24 * 24], np.uint8).view(dtype).reshape(-1, 3),
    st.binary(max_size=72),
    st.sampled_from(["float16", "float32", "float64", "int32", "int64"]),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats() | TEXTS | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=6,
)


def strategy_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation."""
    origin, parts = get_origin(hint), get_args(hint)
    plain = {int: INTEGERS, float: st.floats(), str: TEXTS, bytes: st.binary(max_size=64), bool: st.booleans()}
    if hint is AtlasError:
        locs = st.none() | st.lists(TEXTS | st.integers(), max_size=3).map(tuple)
        kinds = st.sampled_from(ERRORS)
        retry = st.none() | st.floats()
        return st.builds(lambda kind, text, loc, s: kind(text, loc=loc, retry_after_s=s), kinds, TEXTS, locs, retry)
    if hint in plain:
        return plain[hint]
    if hint in (Any, object):
        return ANYTHING
    if hint is type(None):
        return st.none()
    if origin is Literal:
        return st.sampled_from(parts)
    if origin in (Union, types.UnionType):
        return st.one_of([strategy_of(part) for part in parts])
    if origin is Mapping:
        return st.dictionaries(strategy_of(parts[0]), strategy_of(parts[1]), max_size=3)
    if origin is tuple and parts[-1] is Ellipsis:
        return st.lists(strategy_of(parts[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*[strategy_of(part) for part in parts])
    return records_of(hint)


def records_of(kind: type) -> st.SearchStrategy[Any]:
    if kind is Projection:
        return st.builds(Projection, mean=ARRAYS, components=ARRAYS)
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: strategy_of(hints[field.name]) for field in dataclasses.fields(kind)})


def assert_same(left: Any, right: Any) -> None:
    """Equal, of equal types, floats and arrays bit for bit."""
    assert type(left) is type(right)
    if dataclasses.is_dataclass(left):
        for field in dataclasses.fields(left):
            assert_same(getattr(left, field.name), getattr(right, field.name))
    elif isinstance(left, AtlasError):
        assert str(left) == str(right)
        assert_same((left.detail, left.loc, left.retry_after_s), (right.detail, right.loc, right.retry_after_s))
    elif isinstance(left, tuple | list):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif isinstance(left, dict):
        assert_same(list(left.items()), list(right.items()))
    elif isinstance(left, np.ndarray):
        assert (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())
    elif isinstance(left, float):
        assert struct.pack("d", left) == struct.pack("d", right)
    else:
        assert left == right


def assert_message_or_malformed(data: bytes | bytearray) -> None:
    with contextlib.suppress(MalformedFrame):
        assert isinstance(decode(data, expected=MESSAGES), MESSAGES)


def there_and_back(message: Any) -> Any:
    return decode(encode(message), expected=MESSAGES)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_message_round_trips_exactly(kind: type, data: st.DataObject) -> None:
    message = data.draw(records_of(kind))
    assert_same(there_and_back(message), message)


def test_all_reachable_dataclasses_and_errors_are_registered() -> None:
    """All dataclasses that the annotations of messages can reach, and all error classes."""
    reached: set[type] = set()

    def visit(hint: Any) -> None:
        if dataclasses.is_dataclass(hint) and isinstance(hint, type) and hint not in reached:
            reached.add(hint)
            for name, inner in get_type_hints(hint).items():
                if name in {field.name for field in dataclasses.fields(hint)}:
                    visit(inner)
        for part in get_args(hint):
            visit(part)

    for kind in MESSAGES:
        visit(kind)
    assert reached == set(RECORDS)
    own = {kind for kind in vars(service.errors).values() if isinstance(kind, type) and issubclass(kind, AtlasError)}
    assert own == set(ERRORS)
    modules = (messages, requests, comparisons, inputs, statistics)
    assert {kind.__module__ for kind in reached} == {module.__name__ for module in modules}


def test_numbers_that_json_cannot_represent_round_trip() -> None:
    sampling = Sampling(temperature=math.inf, min_p=-0.0, logit_bias={5: math.nan}, seed=2**100)
    message = Submit(model="m", request=Generate(request_id="a", inputs=((2**63, -(2**64)),), sampling=sampling))
    assert_same(there_and_back(message), message)


def test_decoded_arrays_are_writable() -> None:
    mean: Any = np.arange(3, dtype=np.float32)
    components: Any = np.ones((0, 3), np.float16)
    reduce = Projection(mean=mean, components=components)
    request = Capture(request_id="a", inputs=("x",), capture=CaptureSpec(sites=("embed",), reduce=reduce))
    back = there_and_back(Submit(model="m", request=request)).request.capture.reduce
    back.mean[0] = 7
    assert back.mean.tolist() == [7, 1, 2]
    assert (back.components.shape, back.components.dtype) == ((0, 3), np.float16)


def test_an_unregistered_error_is_decoded_as_its_registered_base() -> None:
    class Full(Busy):
        pass

    message = Reply(request_id="a", updates=(Failed(request_id="a", error=Full("full", retry_after_s=2)),))
    (failed,) = there_and_back(message).updates
    assert type(failed.error) is Busy
    assert (failed.error.detail, failed.error.retry_after_s) == ("full", 2)


class Version(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another text"


class Number(enum.IntEnum):
    FIVE = 5


def test_subclasses_of_scalars_are_decoded_as_plain_values() -> None:
    card = {"version": Version("1.2+cpu"), "five": Number.FIVE, "share": np.float64(0.1)}
    state = EngineState(generation=1, pid=2, models={"m": card}, stats={})
    assert_same(there_and_back(state).models["m"], {"version": "1.2+cpu", "five": 5, "share": 0.1})


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, 1j, np.float32(1), np.array([object()]), np.ones(2, ">f4"), {(1, 2): 3}, print]
)
def test_values_of_other_types_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        encode(Submit(model="m", request=Generate(request_id="a"), metadata={"value": value}))


TAG = {kind: tag for tag, kind in enumerate(RECORDS)}
CANCEL = TAG[Cancel]


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ([99, "a"], "99"),
        ([-9], "-9"),
        (["Cancel", "a"], "Cancel"),
        ([], "not enough"),
        ([CANCEL], "Cancel with 0 fields"),
        ([CANCEL, "a", "b"], "Cancel with 2 fields"),
        ([CANCEL, 5], "field of the wrong type"),
        ([CANCEL, [-2, "a"]], "field of the wrong type"),
        ([TAG[Reply], "a", [-2, [-3, "object", b"12345678", 1]]], "unknown dtype"),
        ([TAG[Reply], "a", [-2, [-3, "float32", b"123", 1]]], "buffer size"),
        ([TAG[Reply], "a", [-2, [-4, 99, "text", None, None]]], "not an error"),
        ([TAG[Reply], "a", [-2, msgpack.ExtType(42, b"")]], "unknown extension type"),
        ([TAG[Reply], "a", [-2, msgpack.ExtType(1, b"x")]], "invalid literal"),
        ([TAG[Delta], "a", 0, "", [-2], [-2], None, None], "expected a message of type"),
        ("text", "expected a message of type"),
        ({"a": 1}, "expected a message of type"),
    ],
)
def test_malformed_frames_are_refused(wire: Any, reason: str) -> None:
    with pytest.raises(MalformedFrame, match=reason):
        decode(msgpack.packb(wire), expected=MESSAGES)


def test_a_message_of_the_other_direction_is_refused() -> None:
    state = EngineState(generation=1, pid=2, models={}, stats={})
    with pytest.raises(MalformedFrame, match=r"expected a message of type .*Cancel, got EngineState"):
        decode(encode(state), expected=get_args(FromApi))


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_decode_or_are_refused(data: bytes) -> None:
    assert_message_or_malformed(data)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_frames_decode_or_are_refused(data: st.DataObject) -> None:
    whole = bytearray(encode(data.draw(records_of(data.draw(st.sampled_from(MESSAGES))))))
    at = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    whole[at] = data.draw(st.integers(min_value=0, max_value=255))
    for frame in (whole, whole[:at]):
        assert_message_or_malformed(frame)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(MalformedFrame):
        decode(b"\x91" * 100_000, expected=MESSAGES)
