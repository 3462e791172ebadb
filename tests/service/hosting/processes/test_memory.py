from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.hosting.processes.devices import worker_devices
from service.hosting.processes.memory import equal_share, host_memory_bytes, memory_share
from service.settings import Settings
from tests.service.hosting.processes.test_threads import system

GIB = 1 << 30


@pytest.mark.parametrize(
    ("groups", "files", "n_bytes"),
    [
        ("0::/\n", {}, 16 * GIB),
        ("0::/\n", {"memory.max": "max\n"}, 16 * GIB),
        ("0::/\n", {"memory.max": f"{3 * GIB}\n"}, 3 * GIB),
        ("0::/\n", {"memory.max": f"{64 * GIB}\n"}, 16 * GIB),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{5 * GIB}\n"}, 5 * GIB),
        ("3:cpu:/c\n2:memory:/m\n", {"memory/m/memory.limit_in_bytes": f"{2 * GIB}\n"}, 2 * GIB),
        ("2:memory:/m\n", {"memory/m/memory.limit_in_bytes": "9223372036854771712\n"}, 16 * GIB),
        ("0::/\n", {"memory.max": "all of it\n"}, 16 * GIB),
    ],
)
def test_the_limit_of_control_groups_counts_as_the_memory_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], n_bytes: int
) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 16 * GIB // 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert host_memory_bytes(root=system(tmp_path, groups=groups, files=files)) == n_bytes


def test_the_setting_gives_the_share_and_workers_share_equally_without_it() -> None:
    assert memory_share(Settings(memory_share=0.3, workers=5)) == 0.3
    assert memory_share(Settings(workers=3)) == 1 / 4
    assert memory_share(Settings(workers=0)) == 1 / 2
    assert Settings.from_environ({"PROMPTATLAS_MEMORY_SHARE": "0.25"}).memory_share == 0.25


def test_processes_on_one_cpu_have_equal_shares() -> None:
    assert equal_share(None, workers=[None, None], visible=(), n_engines=0) == 1 / 2
    assert equal_share(None, workers=[None], visible=(), n_engines=1) == 1 / 2
    assert equal_share(None, workers=[None] * 3, visible=("0",), n_engines=1) == 1 / 4


@pytest.mark.parametrize("n_workers", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("n_engines", [0, 1, 2, 5])
@pytest.mark.parametrize("chosen", [(), ("1",), ("0", "3")])
def test_the_shares_of_each_device_are_at_most_the_whole(
    n_workers: int, n_engines: int, chosen: tuple[str, ...]
) -> None:
    visible = ("0", "1", "2", "3")
    workers = worker_devices(n_workers, chosen=chosen, device="auto", visible=visible, n_engines=n_engines)
    shares = [equal_share(device, workers=workers, visible=visible, n_engines=n_engines) for device in workers]
    for device in visible:
        n_engines_here = sum(visible[i % 4] == device for i in range(n_engines))
        own = [share for share, other in zip(shares, workers, strict=True) if other == device]
        assert all(share == 1 / (len(own) + n_engines_here) for share in own)
