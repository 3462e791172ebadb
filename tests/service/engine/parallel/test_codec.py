"""Messages between ranks: what they carry arrives with its type and bit for bit, and other bytes are refused."""

from __future__ import annotations

import math

import msgpack
import pytest
import torch

from service.engine.parallel.codec import RECORDS, decode, encode
from service.engine.parallel.messages import (
    BatchTokens,
    CompilePrompt,
    Forward,
    LoadModel,
    LoadPrompts,
    Message,
    RecordedTokens,
    ResizeCache,
)

MESSAGES: tuple[Message, ...] = (
    LoadModel(name="m", folder="/models/m", dtype="bfloat16", size=2),
    ResizeCache(3, 64, (1, 0, 7)),
    Forward(
        tokens=BatchTokens(((0, 0, 4, 5, None), (1, 1, 0, 3, 12)), 1),
        reads=(("resid_post", 1, None), ("module", None, "model.layers.0.mlp")),
        stops=True,
        mlp=(2, (0, 3)),
    ),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    assert decode(encode(5, message)) == (5, message)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
@pytest.mark.parametrize("shape", [(2, 3), (0, 4), (5,)])
def test_tensors_arrive_bit_for_bit(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.arange(math.prod(shape)).reshape(shape).to(dtype)
    _, found = decode(encode(0, CompilePrompt(3, {"soft": tensor}, None)))
    assert isinstance(found, CompilePrompt)
    assert found.tensors["soft"].dtype == dtype
    assert torch.equal(found.tensors["soft"], tensor)


def test_tensors_of_a_forward_arrive() -> None:
    ids, vectors = torch.tensor([4, 5]), torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    _, forward = decode(encode(0, Forward(tokens=RecordedTokens(2), ids=ids, vectors=vectors[:, 1:])))
    assert isinstance(forward, Forward)
    assert forward.tokens == RecordedTokens(2)
    assert forward.ids is not None
    assert torch.equal(forward.ids, ids)
    assert forward.vectors is not None
    assert torch.equal(forward.vectors, vectors[:, 1:])


@pytest.mark.parametrize(
    "data", [msgpack.packb(7), msgpack.packb([0, {"a": 1}]), msgpack.packb(["x", 1]), msgpack.packb([0])]
)
def test_other_bytes_are_no_message(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected a message between ranks"):
        decode(data)


def test_values_of_other_types_are_not_sent() -> None:
    message = LoadPrompts(((0, (1,)),))
    object.__setattr__(message, "slots", object())
    with pytest.raises(TypeError, match="expected a value of a type that messages may contain, got object"):
        encode(0, message)
    with pytest.raises(TypeError, match=r"expected a tensor of float32, .*, got bool"):
        encode(0, CompilePrompt(0, {"soft": torch.ones(2, dtype=torch.bool)}, None))


def test_every_kind_of_message_is_listed_once() -> None:
    kinds = {*Message.__args__, BatchTokens, RecordedTokens}
    assert kinds <= set(RECORDS)
    assert len(set(RECORDS)) == len(RECORDS)
