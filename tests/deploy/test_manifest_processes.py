"""Redis, service and workers, started with the commands, variables and Secrets of the manifests: without containers."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from service.queueing.embedded_redis import find_server
from tests.chaos.faulty_network import Bucket, bucket
from tests.deploy.manifests import DEPLOY, ROOT, container_of, variables_of
from tests.deploy.pods import Pod, Pods
from tests.integration.running import free_port, wait_until

KEY, PASSWORD = "key-of-manifests", "password_of-manifests"
AUTH = {"Authorization": f"Bearer {KEY}"}
PORT_OF_REDIS = "6379"

pytestmark = [
    pytest.mark.skipif(find_server() is None, reason="no redis-server here"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def store() -> Iterator[Bucket]:
    """An S3 server with the bucket that the manifests name."""
    pytest.importorskip("moto.server", reason="needs moto[server]")
    with bucket("promptatlas") as opened:
        yield opened


@pytest.fixture(scope="module")
def port_of_redis() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory, store: Bucket, port_of_redis: int) -> Pods:
    secrets = {
        "promptatlas-redis": {"password": PASSWORD, "redis_url": f"redis://:{PASSWORD}@127.0.0.1:{port_of_redis}/0"},
        "promptatlas-keys": {"keys.jsonl": f"me:admin:{hashlib.sha256(KEY.encode()).hexdigest()}\n"},
        "promptatlas-s3": {name: store.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
    }
    # Addresses and ports of this host; all else is that of the manifests.
    here = {
        "PROMPTATLAS_HOST": "127.0.0.1",
        "PROMPTATLAS_PORT": str(free_port()),
        "PROMPTATLAS_DRAIN_S": "0",
        "AWS_ENDPOINT_URL": store.environ["AWS_ENDPOINT_URL"],
    }
    return Pods(
        folder=tmp_path_factory.mktemp("pods"), secrets=secrets, variables=here, ports={PORT_OF_REDIS: port_of_redis}
    )


@pytest.fixture(scope="module")
def queue(pods: Pods) -> Iterator[Pod]:
    with pods.running("promptatlas-redis") as pod:
        probe = container_of("promptatlas-redis")["readinessProbe"]["exec"]["command"]
        wait_until(lambda: pod.execute(probe).returncode == 0, why=pod.log.read_text)
        yield pod


@pytest.fixture(scope="module")
def service(pods: Pods, queue: Pod) -> Iterator[Pod]:
    assert queue.process.poll() is None
    with pods.running("promptatlas-service") as pod:
        wait_until(
            lambda: pod.process.poll() is not None or _probed(pod, "readinessProbe") == 200, why=pod.log.read_text
        )
        assert pod.process.poll() is None, pod.log.read_text()
        yield pod


def _probed(pod: Pod, probe: str) -> int:
    """Status of an HTTP probe of the service; 0 without a connection."""
    get = container_of("promptatlas-service")[probe]["httpGet"]
    headers = {header["name"]: header["value"] for header in get["httpHeaders"]}
    try:
        return httpx.get(f"{_url(pod)}{get['path']}", headers=headers, verify=False).status_code
    except httpx.TransportError:
        return 0


def _url(pod: Pod) -> str:
    return f"http://127.0.0.1:{pod.environ['PROMPTATLAS_PORT']}"


def _sampled(service: Pod) -> dict[str, Any]:
    """A run of five draws, after its end."""
    with httpx.Client(base_url=_url(service), headers=AUTH, timeout=60) as http:
        body = {"model": "demo", "prior": {"kind": "isotropic"}, "n": 5}
        begun = http.post("/v1/priors/sample", json=body)
        assert begun.status_code == 202, begun.text
        where = f"/v1/runs/{begun.json()['id']}"

        def run() -> dict[str, Any]:
            found: dict[str, Any] = http.get(where).json()
            return found

        wait_until(lambda: run()["status"] in ("succeeded", "failed", "cancelled"), why=service.log.read_text)
        return run()


def test_redis_requires_the_password_and_keeps_its_queue(queue: Pod, port_of_redis: int, pods: Pods) -> None:
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(port=port_of_redis).ping()
    client = redis.Redis(port=port_of_redis, password=PASSWORD)
    assert client.config_get("appendonly")["appendonly"] == "yes"
    assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert str(client.config_get("dir")["dir"]).startswith(str(pods.folder))
    arguments = Path(f"/proc/{queue.process.pid}/cmdline").read_text()
    assert "redis-server" in arguments, "the shell replaces itself, so that SIGTERM reaches Redis"
    assert PASSWORD not in arguments


def test_the_service_answers_its_probes_and_requires_a_key(service: Pod) -> None:
    assert [_probed(service, name) for name in ("startupProbe", "livenessProbe", "readinessProbe")] == [200, 200, 200]
    body = {"model": "demo", "prompt": "2+2=", "max_tokens": 2}
    assert httpx.post(f"{_url(service)}/v1/completions", json=body, timeout=60).status_code == 401
    answer = httpx.post(f"{_url(service)}/v1/completions", json=body, headers=AUTH, timeout=60)
    assert answer.status_code == 200, answer.text
    assert httpx.get(f"{_url(service)}/ready").json()["redis"]["status"] == "ok"


@pytest.mark.parametrize("workload", ["promptatlas-workers", "promptatlas-extra-workers"])
def test_a_worker_executes_a_run_and_ends_on_sigterm(service: Pod, pods: Pods, workload: str) -> None:
    probe = container_of("promptatlas-workers")["livenessProbe"]["exec"]["command"]
    with pods.running(workload) as worker:
        run = _sampled(service)
        assert run["status"] == "succeeded", worker.log.read_text()
        assert worker.execute(probe).returncode == 0
        assert worker.stop() == 0, worker.log.read_text()
        assert worker.execute(probe).returncode == 1, "no worker is left"


def test_a_task_of_the_slurm_array_executes_a_run_and_ends_on_sigterm(service: Pod, pods: Pods, tmp_path: Path) -> None:
    """Slurm starts the script with its variables, and sends SIGTERM to the process of the script."""
    settings = tmp_path / "workers.toml"
    home = variables_of(container_of("promptatlas-workers"))["PROMPTATLAS_HOME"]
    url = pods.secrets["promptatlas-redis"]["redis_url"]
    settings.write_text(f'home = "{home}"\nredis_url = "{url}"\n')
    slurm = {"SLURM_ARRAY_TASK_ID": "0", "USER": "tester", "TMPDIR": str(tmp_path), "PROMPTATLAS_CONFIG": str(settings)}
    kept = {name: service.environ[name] for name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS", "AWS_ENDPOINT_URL")}
    environ = {
        **kept,
        **pods.secrets["promptatlas-s3"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "HOME": str(tmp_path),
        **slurm,
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = ["bash", str(DEPLOY / "jobs" / "workers.sbatch")]
        task = Pod(
            process=subprocess.Popen(command, env=environ, cwd=ROOT, stdout=output, stderr=output),
            environ=environ,
            log=log,
        )
    try:
        assert _sampled(service)["status"] == "succeeded", log.read_text()
        assert task.stop() == 0, log.read_text()
    finally:
        task.kill()


def test_the_service_ends_on_sigterm(service: Pod) -> None:
    assert service.stop() == 0, service.log.read_text()
