from __future__ import annotations

import json

import pytest

from service.errors import DamagedArtifact
from service.store.artifacts.sealed_records import canonical_json, seal, unseal


def test_a_sealed_record_opens_and_is_plain_json() -> None:
    record = {"version": 3, "note": "ä", "list": [1, None]}
    data = seal(record)
    assert unseal(data, label="it") == record
    assert json.loads(data)["record"] == record


def test_every_flipped_bit_is_seen() -> None:
    data = seal({"version": 3})
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedArtifact, match="alias qa@live is damaged"):
            unseal(bytes(flipped), label="alias qa@live")


def test_every_cut_is_seen() -> None:
    data = seal({"version": 3})
    for n_bytes in range(len(data)):
        with pytest.raises(DamagedArtifact):
            unseal(data[:n_bytes], label="it")
    with pytest.raises(DamagedArtifact):
        unseal(data + b" ", label="it")


def test_only_json_with_finite_numbers_is_sealed() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": float("nan")})
