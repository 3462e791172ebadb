"""A service with several engine processes: what dies takes only its own requests, and prompts keep their engine."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.running import Service, children_of, command_of, get, running_service, wait_until
from tests.integration.test_openai_client import upload_soft

LONG = {"model": "tiny", "prompt": "x", "max_tokens": 16_000, "temperature": 0}
SHORT = {**LONG, "max_tokens": 3}


@pytest.fixture(scope="module")
def service(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("engines")
    models = f"tiny={model_path},other={model_path}"
    with running_service(folder, models=models, ENGINES="tiny;tiny,other", GRACE_S="600") as started:
        started.wait_until_ready()
        wait_until(lambda: [one["status"] for one in ready_of(started)["engines"]] == ["ok", "ok"])
        yield started


def ready_of(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = get(f"{service.url}/ready").json()
    return found


def engine_pids(service: Service) -> list[int]:
    """In the order of their start."""
    return sorted(pid for pid in children_of(service.pid) if "spawn_main" in " ".join(command_of(pid)))


def running(service: Service) -> dict[str, float]:
    """Sequences of the model `tiny` in the batch of each engine."""
    text = get(f"{service.url}/metrics").text
    found = re.findall(r'promptatlas_num_requests_running\{engine="(\d)",model_name="tiny"\} (\S+)', text)
    return {engine: float(value) for engine, value in found}


def complete(service: Service, body: dict[str, object]) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/completions", json=body, timeout=120)


def test_requests_are_spread_and_both_engines_answer_equally(service: Service) -> None:
    alone = complete(service, SHORT).json()["choices"][0]["text"]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: complete(service, SHORT), range(16)))
    assert {answer.json()["choices"][0]["text"] for answer in answers} == {alone}

    def n_generated() -> dict[str, float]:
        text = get(f"{service.url}/metrics").text
        made = re.findall(r'promptatlas_generation_tokens_total\{engine="(\d)",model_name="tiny"\} (\S+)', text)
        return {engine: float(value) for engine, value in made}

    # Engines send their numbers once a second. 17 requests with three tokens each.
    wait_until(lambda: sum(n_generated().values()) == 51, why=n_generated)
    assert all(n_generated().values())


def test_a_model_is_hosted_by_the_engines_that_name_it(service: Service) -> None:
    models = get(f"{service.url}/v1/models").json()["data"]
    assert {"tiny", "other"} <= {model["id"] for model in models}
    assert complete(service, {**SHORT, "model": "other"}).status_code == 200
    text = get(f"{service.url}/metrics").text
    assert set(re.findall(r'promptatlas_num_requests_running\{engine="(\d)",model_name="other"\}', text)) == {"1"}


def test_requests_with_one_prompt_compile_it_once(service: Service) -> None:
    with httpx.Client(base_url=service.url) as http:
        upload_soft(http, "p", seed=0)
    for _ in range(6):
        assert complete(service, {**SHORT, "prompt_ref": "p"}).status_code == 200

    def fetches() -> list[float]:
        text = get(f"{service.url}/metrics").text
        found = re.findall(r'promptatlas_engine_prompt_fetches_total\{engine="(\d)",model="tiny"\} (\S+)', text)
        return sorted(float(value) for _, value in found)

    # Engines send their numbers once a second.
    wait_until(lambda: sum(fetches()) > 0)
    assert fetches() == [0.0, 1.0]


def test_a_killed_engine_takes_only_its_own_requests(service: Service) -> None:
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(complete, service, LONG) for _ in range(4)]
        wait_until(lambda: running(service) == {"0": 2.0, "1": 2.0}, why=lambda: running(service))
        os.kill(engine_pids(service)[0], signal.SIGKILL)
        wait_until(lambda: sum(one.done() for one in waiting) == 2)
        lost = [one.result() for one in waiting if one.done()]
        assert [answer.status_code for answer in lost] == [503, 503]
        # The service stays ready, and new requests go to the other engine.
        assert get(f"{service.url}/ready").status_code == 200
        assert complete(service, SHORT).status_code == 200
        wait_until(lambda: [one["status"] for one in ready_of(service)["engines"]] == ["ok", "ok"])
        assert sum(one.done() for one in waiting) == 2
        text = get(f"{service.url}/metrics").text
        assert sorted(re.findall(r'promptatlas_engine_generation\{engine="\d"\} (\S+)', text)) == ["1.0", "2.0"]
        # Ends the requests that would run for long.
        for pid in engine_pids(service):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: [one["status"] for one in ready_of(service)["engines"]] == ["ok", "ok"])
