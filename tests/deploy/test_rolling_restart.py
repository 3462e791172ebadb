"""Two services behind nginx, with one store and one Redis: each is replaced under load, and no request fails."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from safetensors.torch import save

from service.queueing.embedded_redis import find_server
from tests.deploy.balancer import Balancer, find_nginx, running_balancer
from tests.deploy.load import Load, Question, clients
from tests.deploy.manifests import ROOT
from tests.integration.running import Service, get, running_service, wait_until
from tests.other_clients.plain_model import PlainModel
from tests.other_clients.scripts.report import MODEL, N_TOKENS, OTHER_STORY, STORY, TEXT
from tests.service.queueing.redis_server import RedisServer

FOLDER = ROOT / "demo" / "model"
D_MODEL = 128
N_CLIENTS = 3
# Answers under load between two steps of the restart.
N_BETWEEN = 4 * N_CLIENTS

pytestmark = [
    pytest.mark.skipif(find_nginx() is None, reason="no nginx here: install the package nginx-light"),
    pytest.mark.skipif(find_server() is None, reason="no redis-server here"),
    pytest.mark.timeout(900),
]


class Replicas:
    """Starts services of one store and one Redis."""

    def __init__(self, folder: Path, *, redis_url: str) -> None:
        self._folder = folder
        self._redis_url = redis_url
        self._n_started = 0

    @contextlib.contextmanager
    def start(self) -> Iterator[Service]:
        """Start a service and wait until it is ready."""
        self._n_started += 1
        folder = self._folder / str(self._n_started)
        folder.mkdir()
        shared = {"HOME": str(self._folder / "store"), "CACHE": str(self._folder / "cache")}
        # Long enough for the reload of a proxy on a machine that does something else.
        times = {"DRAIN_S": "20", "GRACE_S": "90"}
        with running_service(
            folder, models=f"{MODEL}={FOLDER}", REDIS_URL=self._redis_url, **shared, **times
        ) as service:
            service.wait_until_ready()
            yield service


def is_ready(service: Service) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return get(f"{service.url}/ready").status_code == 200
    return False


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server.url
    server.close()


@pytest.fixture(scope="module")
def soft() -> torch.Tensor:
    """A soft prompt `[n_virtual, d_model]`."""
    return torch.randn(3, D_MODEL, generator=torch.Generator().manual_seed(3))


def questions_of(soft: torch.Tensor, *, prompt: str) -> list[Question]:
    """Texts without and with the prompt; answers are those of plain transformers."""
    plain = PlainModel(FOLDER, soft=soft)
    found = []
    for text in (STORY, OTHER_STORY, TEXT):
        body = {"model": MODEL, "prompt": text, "max_tokens": N_TOKENS, "temperature": 0}
        found.append(Question(body=body, text=plain.continuation(text)))
        found.append(Question(body={**body, "prompt_ref": prompt}, text=plain.continuation(text, tuned=True)))
    return found


def upload(url: str, soft: torch.Tensor, *, name: str) -> None:
    data = save({"soft": soft}, metadata={"promptatlas": json.dumps({"kind": "soft", "base": MODEL})})
    headers = {"Content-Type": "application/vnd.safetensors"}
    answer = httpx.post(f"{url}/v1/prompts", params={"name": name}, content=data, headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text


def await_answers(load: Load) -> None:
    """Until the clients have more answers, or a failure."""
    enough = load.n_right + N_BETWEEN
    wait_until(lambda: load.n_right >= enough or bool(load.failures))
    assert load.failures == []


def test_no_request_fails_while_both_replicas_are_replaced(tmp_path: Path, redis_url: str, soft: torch.Tensor) -> None:
    nginx = find_nginx()
    assert nginx is not None
    replicas = Replicas(tmp_path, redis_url=redis_url)
    folder = tmp_path / "nginx"
    folder.mkdir()
    with contextlib.ExitStack() as services:
        running = [services.enter_context(replicas.start()) for _ in range(2)]
        everyone = list(running)
        balancer = services.enter_context(running_balancer(folder, nginx=nginx, urls=[one.url for one in running]))
        upload(balancer.url, soft, name="qa")
        questions = questions_of(soft, prompt="qa")
        # The clients end before the services.
        with clients(balancer.url, questions=questions, n=N_CLIENTS) as load:
            await_answers(load)
            for old in tuple(running):
                new = services.enter_context(replicas.start())
                replace(old, new, running=running, balancer=balancer)
                everyone.append(new)
                await_answers(load)
                assert old.process.wait(120) == 0, old.log.read_text()
            await_answers(load)
    assert load.failures == []
    assert balancer.statuses() == {"200", "201"}
    answered = balancer.requests_by_replica()
    assert all(answered[one.url.removeprefix("http://")] > 0 for one in everyone), answered


def replace(old: Service, new: Service, *, running: list[Service], balancer: Balancer) -> None:
    """What a Deployment with maxSurge 1 does: add the new service, end the old one, remove it when ``/ready`` fails."""
    running.append(new)
    balancer.use([one.url for one in running])
    old.process.terminate()
    wait_until(lambda: not is_ready(old), why=old.log.read_text)
    # The old service still answers, until PROMPTATLAS_DRAIN_S after the signal.
    running.remove(old)
    balancer.use([one.url for one in running])
