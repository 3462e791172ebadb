from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.hosting.processes.threads import (
    ThreadPlan,
    available_cores,
    environment,
    lower_priority,
    thread_environ,
)
from service.settings import Settings


def settings(**given: Any) -> Settings:
    return Settings(**given)


@pytest.mark.parametrize(
    ("n_workers", "plan"),
    [
        (0, ThreadPlan(engine=6, worker=6, worker_nice=2)),
        (1, ThreadPlan(engine=6, worker=6, worker_nice=2)),
        (2, ThreadPlan(engine=6, worker=3, worker_nice=5)),
        (4, ThreadPlan(engine=6, worker=1, worker_nice=8)),
        (256, ThreadPlan(engine=6, worker=1, worker_nice=19)),
    ],
)
def test_by_default_the_engine_has_all_cores_and_workers_share_them(n_workers: int, plan: ThreadPlan) -> None:
    assert ThreadPlan.of(settings(workers=n_workers), n_cores=6) == plan


@pytest.mark.parametrize("n_workers", [1, 2, 3, 5, 8])
def test_all_workers_together_weigh_less_than_the_engine(n_workers: int) -> None:
    nice = ThreadPlan.of(settings(workers=n_workers), n_cores=4).worker_nice
    assert 0.55 < n_workers / 1.25**nice < 0.75


def test_settings_take_precedence_over_shares() -> None:
    given = settings(threads=3, worker_threads=2, worker_nice=0)
    assert ThreadPlan.of(given, n_cores=6) == ThreadPlan(engine=3, worker=2, worker_nice=0)


def test_every_library_gets_the_number_and_a_wait() -> None:
    found = thread_environ({"HOME": "/home"}, n_threads=3, n_spins=700, is_set=False)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    assert {found[name] for name in names} == {"3"}
    assert found["HOME"] == "/home"
    assert (found["GOMP_SPINCOUNT"], found["OMP_WAIT_POLICY"]) == ("700", "active")


def test_numbers_of_the_environment_are_replaced_by_a_setting_only() -> None:
    given = {"OMP_NUM_THREADS": "7"}
    assert thread_environ(given, n_threads=3, n_spins=700, is_set=False)["OMP_NUM_THREADS"] == "7"
    assert thread_environ(given, n_threads=3, n_spins=700, is_set=True)["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_a_wait_policy_of_the_environment_is_kept(name: str) -> None:
    found = thread_environ({name: "1"}, n_threads=3, n_spins=700, is_set=True)
    waits = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & found.keys()
    assert (waits, found[name]) == ({name}, "1")


def test_torch_of_a_started_process_has_the_number() -> None:
    code = "import torch; print(torch.get_num_threads())"
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environ = thread_environ(clean, n_threads=1, n_spins=700, is_set=True)
    output = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == "1"


def test_the_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTATLAS_A", "1")
    before = dict(os.environ)
    code = "import os; print(sorted(name for name in os.environ if name.startswith('PROMPTATLAS')))"
    with environment({"PATH": os.environ["PATH"], "PROMPTATLAS_B": "2"}):
        assert "PROMPTATLAS_A" not in os.environ
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "['PROMPTATLAS_B']"
    assert dict(os.environ) == before


def system(folder: Path, *, groups: str, files: dict[str, str]) -> Path:
    """A file system with control groups. groups: ``/proc/self/cgroup``; files: under ``/sys/fs/cgroup``."""
    own = folder / "proc" / "self"
    own.mkdir(parents=True)
    (own / "cgroup").write_text(groups)
    for name, text in files.items():
        path = folder / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("groups", "files", "n_cores"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/host/only\n", {"cpu.max": "400000 100000\n"}, 4),
        (
            "3:memory:/m\n2:cpu,cpuacct:/a\n0::/\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("1:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 8),
        ("1:cpu:/host\n", {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ("0::/\n", {"cpu.max": "much of it\n"}, 8),
    ],
)
def test_the_quota_of_control_groups_limits_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], n_cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert available_cores(root=system(tmp_path, groups=groups, files=files)) == n_cores


def test_without_control_groups_the_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 7}, raising=False)
    assert available_cores(root=tmp_path) == 3


def test_priority_is_lowered_for_the_process_and_its_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: list[int] = []
    monkeypatch.setattr(os, "nice", lowered.append)
    lower_priority(7, process=tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "autogroup").write_text("/autogroup-1 nice 0")
    lower_priority(0, process=tmp_path)
    assert (tmp_path / "autogroup").read_text() == "/autogroup-1 nice 0"
    lower_priority(6, process=tmp_path)
    assert (tmp_path / "autogroup").read_text() == "6"
    assert lowered == [7, 6]


def test_a_session_whose_priority_may_not_change_yet_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "nice", lambda _: 0)
    (tmp_path / "autogroup").touch()
    errors: list[OSError] = [BlockingIOError(), BlockingIOError()]
    write = Path.write_text

    def busy(path: Path, text: str) -> int:
        if errors:
            raise errors.pop()
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", busy)
    lower_priority(4, process=tmp_path, pause_s=0)
    assert (tmp_path / "autogroup").read_text() == "4"
    errors.append(PermissionError())
    lower_priority(9, process=tmp_path, pause_s=0)
    assert (tmp_path / "autogroup").read_text() == "4"
