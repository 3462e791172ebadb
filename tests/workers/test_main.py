from __future__ import annotations

import io
import os
import socket

import pytest

from service.queueing.queue import WorkerPresence
from service.settings import ModelSource, Settings
from workers.__main__ import main
from workers.running.setup import WorkSetup

URL = {"PROMPTATLAS_REDIS_URL": "redis://127.0.0.1:1/0"}
NO_PROCESS = 2**22 + 1
"""Greater than every process id of Linux."""


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        ([], {}, "PROMPTATLAS_REDIS_URL must be set"),
        ([], {**URL, "PROMPTATLAS_WORKERS": "0"}, "PROMPTATLAS_WORKERS must be at least 1 to start workers, got 0"),
        ([], {**URL, "PROMPTATLAS_WORKERS": "many"}, "PROMPTATLAS_WORKERS: input should be a valid integer"),
        (["--chek"], URL, "expected no arguments or --check, got --chek"),
    ],
)
def test_invalid_settings_end_it_with_one_line(
    arguments: list[str], environ: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, environ) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_service_gives_its_workers_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Settings(redis_url="redis://:secret@host/0", models=(ModelSource(name="a", path="/a,b"),), port=9000)
    started: list[tuple[WorkSetup, int]] = []
    monkeypatch.setattr(
        "workers.__main__.run_workers", lambda setup, *, n_engines: started.insert(0, (setup, n_engines))
    )
    monkeypatch.setattr("sys.stdin", io.StringIO(given.model_dump_json()))
    main(["--settings-on-stdin"], {"PROMPTATLAS_PORT": "1"})
    assert (started[0][0].settings, started[0][1]) == (given, 1)
    divided = given.model_copy(update={"tensor_parallel": 2})
    monkeypatch.setattr("sys.stdin", io.StringIO(divided.model_dump_json()))
    main(["--settings-on-stdin"], {})
    assert started[0][1] == 2  # each rank has a device


@pytest.mark.parametrize(
    ("hostname", "pid", "status"),
    [
        (socket.gethostname(), os.getpid(), 0),
        (socket.gethostname(), NO_PROCESS, 1),
        (socket.gethostname(), None, 1),
        ("another-host", os.getpid(), 1),
    ],
    ids=["alive", "killed", "unknown", "of another host"],
)
def test_the_check_looks_for_the_process_of_a_worker_on_this_host(
    hostname: str, pid: int | None, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed worker's heartbeat is in Redis for minutes."""
    present = WorkerPresence(name="one", hostname=hostname, busy=False, pid=pid)
    monkeypatch.setattr("service.queueing.queue.RunQueue.workers", lambda _: [present])
    assert main(["--check"], URL) == status


def test_the_check_fails_without_redis(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"], URL) == 1
    assert "cannot be reached" in capsys.readouterr().err
