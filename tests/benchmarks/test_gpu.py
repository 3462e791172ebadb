"""The benchmark of a device: its floors against the model's own parameters, and a run on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.__main__ import TINY, main, table
from benchmarks.gpu.floors import DeviceSpeed
from benchmarks.gpu.shapes import SHAPES, build, kv_bytes, n_parameters
from benchmarks.gpu.work import DeviceWork, Row
from service.engine.model.hosted_model import HostedModel

CPU = torch.device("cpu")
SPEED = DeviceSpeed(bandwidth=1000.0, flops=1e6)


def test_parameters_and_bytes_are_those_of_the_model() -> None:
    module = build(SHAPES["tiny"], device=CPU, dtype=torch.float32)
    matrices = {name: p for name, p in module.named_parameters() if p.ndim == 2 and "embed_tokens" not in name}
    head = matrices.pop("lm_head.weight")
    expected = sum(p.numel() for p in matrices.values())
    assert n_parameters(SHAPES["tiny"], with_head=False) == expected
    assert n_parameters(SHAPES["tiny"], with_head=True) == expected + head.numel()
    hosted = HostedModel("m", module, None, revision="")
    assert kv_bytes(SHAPES["tiny"], dtype=torch.float32) == hosted.kv_shape.bytes_per_token


@pytest.mark.parametrize(("name", "billions"), [("1b", 1.236), ("8b", 7.505)])
def test_shapes_are_those_of_llama(name: str, billions: float) -> None:
    """Llama's published 1.24 and 8.03 billion, the latter with token embeddings of 128,256 × 4,096."""
    assert n_parameters(SHAPES[name], with_head=True) / 1e9 == pytest.approx(billions, abs=1e-3)


def test_floors_are_computed_from_the_load() -> None:
    work = DeviceWork(build(SHAPES["tiny"], device=CPU, dtype=torch.float32), SHAPES["tiny"], load=TINY, speed=SPEED)
    n, head = n_parameters(SHAPES["tiny"], with_head=False), 64 * 199
    # 6 rows of 3 virtual and 8 text tokens, and half of 4 steps: 13 entries of 2 × 3 layers × 2 heads × 16 floats.
    assert work.decode_floor_s() == pytest.approx((4 * (n + head) + 6 * 13 * 2 * 3 * 2 * 16 * 4) / 1000)
    assert work.prefill_floor_s() == pytest.approx((2 * n * 6 * 8 + 2 * head * 6) / 1e6)
    assert work.tuning_floor_s(10) == pytest.approx(4 * (n + head) * 10 / 1e6)


def test_all_rows_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gpu.json"
    assert main(["--device", "cpu", "--shape", "tiny", "--dtype", "float32", "--json", str(file)]) == 0
    (record,) = json.loads(file.read_text())
    assert [row["name"] for row in record["rows"]] == [
        "decode step",
        "prefill",
        "completions",
        "decode step, a prompt for each row",
        "decode step, with a capture",
        "training step of 2 prompts",
    ]
    assert all(row["seconds"] > 0 and row["against_s"] > 0 for row in record["rows"])
    assert "| training step of 2 prompts |" in capsys.readouterr().out


def test_the_table_has_ratios_and_goals() -> None:
    row = Row(name="a", seconds=0.003, against="b", against_s=0.002, goal=1.5)
    assert table("1b", SPEED, [row])[-2] == "| a | 3 ms | b | 2 ms | 1.5 | at most 1.5 |"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "no CUDA device was found" in capsys.readouterr().err
