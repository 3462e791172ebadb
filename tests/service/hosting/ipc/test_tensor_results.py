from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load

from service.engine.requests import Tensors
from service.errors import Unavailable
from service.hosting.ipc.messages import StoredResult
from service.hosting.ipc.tensor_results import CHUNK_BYTES, OpenResult, ResultWriter, discard


def result(**tensors: torch.Tensor) -> Tensors:
    return Tensors(tensors=tensors, metadata={"text": "é", "both": 1})


@pytest.fixture
def writer(tmp_path: Path) -> ResultWriter:
    return ResultWriter(tmp_path / "out", inline_bytes=64)


def everything(opened: OpenResult) -> bytes:
    return b"".join(opened.chunks())


def test_all_dtypes_round_trip(writer: ResultWriter) -> None:
    given = {
        "bf": torch.tensor([1.0, -2.5], dtype=torch.bfloat16),
        "half": torch.tensor([0.5], dtype=torch.float16),
        "yes": torch.tensor([True, False]),
        "long": torch.arange(20).reshape(4, 5).T,
        "none": torch.zeros((0, 3)),
    }
    stored = writer.write(result(**given), metadata={})
    found = load(everything(OpenResult(stored)))
    assert found.keys() == given.keys()
    for name, tensor in given.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_metadata_of_the_request_overrides_the_engines(writer: ResultWriter) -> None:
    stored = writer.write(result(a=torch.ones(1000)), metadata={"both": 2, "request_id": "r"})
    with safe_open(str(stored.path), "pt") as file:
        assert json.loads(file.metadata()["promptatlas"]) == {"text": "é", "both": 2, "request_id": "r"}


def test_an_opened_file_is_unlinked(writer: ResultWriter, tmp_path: Path) -> None:
    stored = writer.write(result(a=torch.arange(1000)), metadata={})
    assert stored.data is None
    opened = OpenResult(stored)
    assert list((tmp_path / "out").iterdir()) == []
    assert torch.equal(load(everything(opened))["a"], torch.arange(1000))
    opened.close()
    opened.close()


def test_large_results_are_read_in_large_slices(writer: ResultWriter) -> None:
    stored = writer.write(result(a=torch.zeros(CHUNK_BYTES * 2 + 5, dtype=torch.uint8)), metadata={})
    chunks = list(OpenResult(stored).chunks())
    assert [len(chunk) for chunk in chunks[:2]] == [CHUNK_BYTES, CHUNK_BYTES]
    assert sum(map(len, chunks)) == stored.n_bytes


def test_sites_that_share_memory_can_be_written(writer: ResultWriter) -> None:
    whole = torch.arange(100.0)
    stored = writer.write(result(a=whole, b=whole, c=whole[10:20]), metadata={})
    found = load(everything(OpenResult(stored)))
    assert torch.equal(found["b"], whole)
    assert torch.equal(found["c"], whole[10:20])


def test_a_result_that_does_not_fit_is_unavailable_and_leaves_no_file(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path / "out", inline_bytes=0)
    (tmp_path / "out").rmdir()
    with pytest.raises(Unavailable):
        writer.write(result(a=torch.ones(9)), metadata={})
    assert list(tmp_path.iterdir()) == []


def test_a_discarded_result_is_deleted(writer: ResultWriter) -> None:
    stored = writer.write(result(a=torch.ones(1000)), metadata={})
    discard(stored)
    discard(stored)
    discard(StoredResult(n_bytes=1, data=b"x"))
    assert not Path(str(stored.path)).exists()
