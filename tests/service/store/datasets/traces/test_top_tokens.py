from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors

from service.errors import DamagedArtifact
from service.store.datasets.traces.top_tokens import TopTokens, TopTokensTable

HEADER = {"k": 2, "model": "m", "revision": "r", "tokenizer_sha256": "t", "teacher": None}


def tokens(n: int, *, seed: int, k: int = 2) -> TopTokens:
    random = np.random.default_rng(seed)
    return TopTokens(
        ids=random.integers(0, 90, n).astype(np.int32),
        logprobs=-random.random(n).astype(np.float32),
        top_ids=random.integers(0, 90, (n, k)).astype(np.int32),
        top_logprobs=-random.random((n, k)).astype(np.float32),
    )


def table(*lengths: int, k: int = 2) -> TopTokensTable:
    rows = [tokens(n, seed=i, k=k) for i, n in enumerate(lengths)]
    return TopTokensTable(rows=rows, header={**HEADER, "k": k})


@pytest.mark.parametrize(("lengths", "k"), [((3, 0, 5), 2), ((), 2), ((4,), 0), ((1, 1), 64)])
def test_a_table_is_read_back(lengths: tuple[int, ...], k: int) -> None:
    written = table(*lengths, k=k)
    read = TopTokensTable.from_bytes(written.to_bytes(), label="x")
    assert (read.header, read.vocabulary, read.n_tokens) == (written.header, None, sum(lengths))
    for one, other in zip(read.rows, written.rows, strict=True):
        for name in ("ids", "logprobs", "top_ids", "top_logprobs"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype
    assert read.to_bytes() == written.to_bytes()


def test_any_reader_of_safetensors_finds_the_documented_tensors(tmp_path: Path) -> None:
    written = TopTokensTable(rows=[tokens(3, seed=1), tokens(2, seed=2)], header=HEADER, vocabulary=["a", "é", ""])
    file = tmp_path / "a.safetensors"
    file.write_bytes(written.to_bytes())
    with safetensors.safe_open(file, framework="np") as opened:
        found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        assert json.loads(opened.metadata()["promptatlas"]) == HEADER
    shapes = {"ids": (5,), "logprobs": (5,), "top_ids": (5, 2), "top_logprobs": (5, 2), "offsets": (3,)}
    assert {name: found[name].shape for name in shapes} == shapes
    assert found["offsets"].tolist() == [0, 3, 5]
    assert found["vocabulary.bytes"].tobytes() == "aé".encode()
    assert found["vocabulary.offsets"].tolist() == [0, 1, 3, 3]
    np.testing.assert_array_equal(found["top_ids"][3:], written.rows[1].top_ids)
    assert list(TopTokensTable.from_bytes(file.read_bytes(), label="x").vocabulary or ()) == ["a", "é", ""]


@pytest.mark.parametrize("data", [b"", b"no file", table(2).to_bytes()[:-3]])
def test_a_damaged_file(data: bytes) -> None:
    with pytest.raises(DamagedArtifact, match="some file is damaged"):
        TopTokensTable.from_bytes(data, label="some file")
