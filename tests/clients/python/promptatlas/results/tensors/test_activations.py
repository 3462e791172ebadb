from __future__ import annotations

import gc
import json
import mmap
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from promptatlas import ActivationCache, AsyncClient, Client, errors
from promptatlas.results.tensors.tensor_file import TensorFile

from tests.clients.python.promptatlas.fake_server import (
    METADATA,
    FakeServer,
    activation_tensors,
    tensor_bytes,
    tensors_reply,
)

BF16 = np.array([[1.0, -2.5, 0.0], [3.0e38, 2.0**-126, 1.5], [0, 1, 2], [3, 4, 5], [6, 7, float("inf")]], np.float32)
BF16[1, 0] = np.array([0x7F61 << 16], np.uint32).view(np.float32)[0]


def is_mapped(array: Any) -> bool:
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


def saved(tmp_path: Path, tensors: dict[str, Any], **kinds: Any) -> ActivationCache:
    path = tmp_path / "result.safetensors"
    path.write_bytes(tensor_bytes(tensors, **kinds))
    return ActivationCache.open(path)


@pytest.fixture
def cache(tmp_path: Path) -> ActivationCache:
    return saved(tmp_path, activation_tensors())


def test_all_its_names_give_the_same_tensor(cache: ActivationCache) -> None:
    for key in ("resid_post.3", ("resid_post", 3), "blocks.3.hook_resid_post"):
        np.testing.assert_array_equal(cache[key], activation_tensors()["resid_post.3"])
    assert cache["hook_embed"][4].tolist() == [-40, -41, -42]
    assert cache["blocks.3.attn.hook_pattern"].shape == (5, 2, 7)
    assert ("pattern", 3) in cache
    assert ("resid_post", 4) not in cache
    assert sorted(cache.keys()) == ["attn_probs.3", "embed", "resid_post.3"]


def test_a_missing_tensor_lists_the_existing_ones(cache: ActivationCache) -> None:
    with pytest.raises(KeyError, match=r"resid_post\.4.*resid_post\.3"):
        cache["resid_post", 4]
    with pytest.raises(KeyError):
        cache["row_offsets"]


def test_rows_of_each_input(cache: ActivationCache) -> None:
    assert cache.row_offsets.tolist() == [0, 2, 5]
    assert (cache.n_inputs, cache.n_rows) == (2, 5)
    second = cache.input(1)
    assert second["resid_post", 3].tolist() == [[20, 21, 22], [30, 31, 32], [40, 41, 42]]
    assert second.token_ids is not None
    assert second.token_ids.tolist() == [21, 22, 23]
    assert second.positions is not None
    assert second.positions.tolist() == [0, 1, 2]
    assert second.shape("attn_probs.3") == (3, 2, 7)
    assert [rows.n_rows for rows in cache.inputs()] == [2, 3]
    assert cache.input(-1)["embed"].tolist() == second["embed"].tolist()


@pytest.mark.parametrize("index", [2, -3])
def test_an_input_out_of_range(cache: ActivationCache, index: int) -> None:
    with pytest.raises(IndexError, match="expected -2 to 1"):
        cache.input(index)


def test_bfloat16_becomes_float32_without_loss(tmp_path: Path) -> None:
    cache = saved(tmp_path, activation_tensors(), bf16={"resid_pre.0": BF16})
    assert cache["resid_pre.0"].dtype == np.float32
    np.testing.assert_array_equal(cache["resid_pre.0"], BF16)
    np.testing.assert_array_equal(cache.input(1)["resid_pre.0"], BF16[2:])


def test_torch_tensors_keep_their_dtype(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    half = {"mlp_out.0": np.arange(5, dtype=np.float16)}
    cache = saved(tmp_path, {**activation_tensors(), **half}, bf16={"resid_pre.0": BF16})
    rows = cache.input(1).torch("blocks.0.hook_resid_pre")
    assert rows.dtype == torch.bfloat16
    assert torch.equal(rows.float(), torch.from_numpy(BF16[2:]))
    assert cache.torch("mlp_out.0").dtype == torch.float16
    everything = cache.torch()
    assert everything.keys() == set(cache.keys())
    everything["embed"] += 1  # it is the caller's own, and writing it touches no file
    assert cache["embed"][0].tolist() == [0, -1, -2]


def test_pandas_has_one_row_for_each_row(cache: ActivationCache) -> None:
    pytest.importorskip("pandas")
    frame = cache.pandas(("resid_post", 3))
    assert list(frame.columns) == [
        "input",
        "position",
        "token_id",
        "resid_post.3.0",
        "resid_post.3.1",
        "resid_post.3.2",
    ]
    assert frame["input"].tolist() == [0, 0, 1, 1, 1]
    assert frame.iloc[3].tolist() == [1, 1, 22, 30, 31, 32]
    assert cache.input(1).pandas("embed")["input"].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match=r"attn_probs\.3: expected"):
        cache.pandas()


def test_pandas_of_reduced_results(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    tensors = {"resid_post.3": np.ones((2, 1), np.float32), "row_offsets": np.array([0, 1, 2], np.int64)}
    mean = saved(tmp_path, tensors)
    assert mean.token_ids is None
    assert mean.positions is None
    assert mean.pandas().columns.tolist() == ["input", "resid_post.3.0"]
    norm = saved(tmp_path, {**activation_tensors(), "attn_probs.3": np.arange(5, dtype=np.float32)})
    assert norm.pandas("attn_probs.3")["attn_probs.3"].tolist() == [0, 1, 2, 3, 4]


def test_empty_tensors(tmp_path: Path) -> None:
    tensors = {"embed": np.zeros((0, 3), np.float32), "row_offsets": np.array([0, 0], np.int64)}
    cache = saved(tmp_path, tensors, bf16={"logits": np.zeros((0, 3), np.float32)})
    assert cache["embed"].shape == cache["logits"].shape == (0, 3)


def test_metadata(cache: ActivationCache) -> None:
    assert cache.request_id == cache.metadata.request_id == "req_7"
    assert cache.metadata.model == "demo"
    assert cache.metadata.prompt is not None
    assert (cache.metadata.prompt.ref, cache.metadata.prompt.n_virtual) == ("qa@2", 3)
    assert "n_rows=5" in repr(cache)


def test_arrays_cannot_be_written_to(cache: ActivationCache) -> None:
    with pytest.raises(ValueError, match="read-only"):
        cache["embed"][0, 0] = 1


def test_only_requested_tensors_are_read(cache: ActivationCache, monkeypatch: pytest.MonkeyPatch) -> None:
    mapped: list[str] = []
    original = TensorFile._mapped

    def spy(self: TensorFile, name: str) -> Any:
        mapped.append(name)
        return original(self, name)

    monkeypatch.setattr(TensorFile, "_mapped", spy)
    cache.keys(), cache.shape("embed"), cache.input(1), repr(cache)
    assert mapped == []
    cache.input(1)["embed"]
    assert mapped == ["embed"]
    assert is_mapped(cache["embed"])


def test_a_temporary_file_lives_as_long_as_its_cache(client: Client, server: FakeServer) -> None:
    server.will(tensors_reply(tensor_bytes(activation_tensors())))
    with client.activations.get(model="demo", inputs=["a", "b"], sites=["embed"]) as cache:
        path = cache.path
        rows = cache["embed"]
        assert path.exists()
    assert not path.exists()
    assert rows[1].tolist() == [-10, -11, -12]
    with pytest.raises(ValueError, match="closed"):
        cache["embed"]
    with pytest.raises(ValueError, match="closed"):
        cache.save(path)


def test_a_temporary_file_is_deleted_with_its_cache(client: Client, server: FakeServer) -> None:
    server.will(tensors_reply(tensor_bytes(activation_tensors())))
    cache = client.activations.get(model="demo", inputs=["a", "b"], sites=["embed"])
    path = cache.path
    del cache
    gc.collect()
    assert not path.exists()


def test_a_named_file_stays(client: Client, server: FakeServer, tmp_path: Path) -> None:
    server.will(tensors_reply(tensor_bytes(activation_tensors())))
    to = tmp_path / "states.safetensors"
    with client.activations.get(model="demo", inputs=["a", "b"], sites=["embed"], to=to) as cache:
        assert cache.path == to
        copy = cache.save(tmp_path / "copy.safetensors")
    assert to.read_bytes() == copy.read_bytes()
    assert ActivationCache.open(copy)["embed"].shape == (5, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"object": "list"}',
        tensor_bytes(activation_tensors())[:-1],
        tensor_bytes({"embed": np.zeros(3, np.float32)}),
        tensor_bytes(activation_tensors(), metadata={"model": "demo"}),
    ],
)
def test_a_response_that_is_no_result(client: Client, server: FakeServer, content: bytes, tmp_path: Path) -> None:
    server.will(tensors_reply(content))
    with pytest.raises(errors.UnexpectedAnswerError):
        client.activations.get(model="demo", inputs=["a"], sites=["embed"])


def test_a_mix_in_the_metadata(tmp_path: Path) -> None:
    mix = {"mix": [{"ref": "a@1", "weight": 0.25}, {"ref": "b@1", "weight": 0.75}]}
    prompt = {"ref": mix, "sha256": None, "kind": "soft", "n_virtual": 3}
    cache = saved(tmp_path, activation_tensors(), metadata={**METADATA, "prompt": prompt})
    assert json.loads(cache.metadata.model_dump_json())["prompt"]["ref"] == mix


def test_async_results_are_the_same(async_client: AsyncClient, server: FakeServer) -> None:
    server.will(tensors_reply(tensor_bytes(activation_tensors())))

    async def run() -> list[float]:
        with await async_client.activations.get(model="demo", inputs=["a", "b"], sites=["embed"]) as cache:
            return list(cache.input(0)["embed"][1])

    assert anyio.run(run) == [-10, -11, -12]
