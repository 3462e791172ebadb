"""Devices of engines, without any device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from service.hosting.engine_process.lit_api import EngineLitAPI
from service.hosting.engine_process.litserve_internals import EngineServer
from service.hosting.processes.devices import cuda_devices, engine_devices, worker_devices
from service.hosting.processes.runtime_directory import Runtime
from service.settings import Settings


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0,1", ["0", "1"]), ("3", ["3"]), ("", []), ("-1", []), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"])],
)
def test_visible_devices_are_those_that_the_variable_names(value: str, expected: list[str], tmp_path: Path) -> None:
    assert list(cuda_devices({"CUDA_VISIBLE_DEVICES": value}, root=tmp_path)) == expected


def test_without_the_variable_they_are_those_of_the_driver(tmp_path: Path) -> None:
    assert list(cuda_devices({}, root=tmp_path)) == []
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "proc/driver/nvidia/gpus" / name).mkdir(parents=True)
    assert list(cuda_devices({}, root=tmp_path)) == ["0", "1"]


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


@pytest.mark.parametrize(
    ("chosen", "device", "visible", "n_engines", "expected"),
    [
        # Devices that no engine has, in turn.
        ((), "auto", ("0", "1", "2"), 1, ["1", "2", "1"]),
        ((), "auto", ("0", "1"), 0, ["0", "1", "0"]),
        # Engines have all.
        ((), "auto", ("0", "1"), 2, ["0", "1", "0"]),
        ((), "auto", ("0",), 1, [None, None, None]),
        ((), "cpu", ("0", "1", "2"), 1, [None, None, None]),
        (("0", "2"), "auto", ("0", "1", "2"), 1, ["0", "2", "0"]),
    ],
)
def test_workers_leave_devices_to_the_engines_unless_others_are_chosen(
    chosen: Sequence[str], device: str, visible: Sequence[str], n_engines: int, expected: Sequence[str | None]
) -> None:
    found = worker_devices(3, chosen=chosen, device=device, visible=visible, n_engines=n_engines)
    assert list(found) == expected


@pytest.mark.parametrize(
    ("chosen", "visible", "n_engines", "expected"),
    [
        ((), ("0", "1", "2", "3"), 2, "2,3"),
        ((), ("0", "1"), 2, None),
        (("1", "3"), ("0", "1", "2", "3"), 2, "1,3"),
        ((), ("0",), 1, None),
    ],
)
def test_runs_over_several_devices_see_all_that_are_left(
    chosen: Sequence[str], visible: Sequence[str], n_engines: int, expected: str | None
) -> None:
    found = worker_devices(2, chosen=chosen, device="auto", visible=visible, n_engines=n_engines, is_spread=True)
    assert list(found) == [expected] * 2
