"""Devices of engines, without any device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from service.hosting.engine_process.lit_api import EngineLitAPI
from service.hosting.engine_process.litserve_internals import EngineServer
from service.hosting.processes.devices import engine_devices, n_cuda_devices
from service.hosting.processes.runtime_directory import Runtime
from service.settings import Settings


@pytest.mark.parametrize(("value", "expected"), [("0,1", 2), ("3", 1), ("", 0), ("-1", 0), ("GPU-a, GPU-b", 2)])
def test_visible_devices_are_those_that_the_variable_names(value: str, expected: int, tmp_path: Path) -> None:
    assert n_cuda_devices({"CUDA_VISIBLE_DEVICES": value}, root=tmp_path) == expected


def test_without_the_variable_they_are_those_of_the_driver(tmp_path: Path) -> None:
    assert n_cuda_devices({}, root=tmp_path) == 0
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "proc/driver/nvidia/gpus" / name).mkdir(parents=True)
    assert n_cuda_devices({}, root=tmp_path) == 2


@pytest.mark.parametrize(
    ("n_engines", "device", "n_cuda", "expected"),
    [
        (1, "auto", 8, [None]),
        (3, "auto", 2, [0, 1, 0]),
        (2, "cuda", 4, [0, 1]),
        (2, "cuda:3", 4, [None, None]),
        (2, "cpu", 4, [None, None]),
        (2, "auto", 0, [None, None]),
    ],
)
def test_engines_take_devices_one_after_the_other(
    n_engines: int, device: str, n_cuda: int, expected: Sequence[int | None]
) -> None:
    assert list(engine_devices(n_engines, device=device, n_cuda=n_cuda)) == expected


@pytest.mark.parametrize(("index", "expected"), [(None, ["cpu"]), (1, [["cuda:1"]])])
def test_litserve_passes_the_device_to_setup(index: int | None, expected: list[object], tmp_path: Path) -> None:
    api = EngineLitAPI(Settings(), runtime=Runtime(folder=tmp_path), generation=1, loader="a:b")
    assert EngineServer(api, cuda_index=index).devices == expected
