"""A service whose engine divides its models over two processes: it answers as one process does, and restarts whole."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import safetensors.torch

from tests.integration.running import Service, children_of, command_of, get, is_alive, running_service, wait_until
from tests.oracle.models import ARCHITECTURES, build_model, save
from tests.oracle.prompts import soft
from tests.oracle.runs import oracle_generate, oracle_states

IDS = (5, 9, 33, 60)
BODY = {"model": "small", "prompt": " ".join(f"t{i}" for i in IDS), "max_tokens": 6, "temperature": 0, "logprobs": 0}


@pytest.fixture(scope="module")
def plain() -> Any:
    return build_model("llama")


@pytest.fixture(scope="module")
def service(plain: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("ranks")
    save(plain, folder / "model")
    models = f"small={folder / 'model'},other={folder / 'model'}"
    with running_service(folder, models=models, TENSOR_PARALLEL="2") as started:
        started.wait_until_ready()
        yield started


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


def engines_of(service: Service) -> list[int]:
    return [pid for pid in children_of(service.pid) if "spawn_main" in " ".join(command_of(pid))]


def ranks_of(service: Service) -> list[int]:
    return [pid for pid in children_of(service.engine_pid) if "service.engine.follower" in command_of(pid)]


def listening(pid: int) -> list[str]:
    """Addresses on which a process listens, as Linux writes them."""
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    texts = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    lines = [line.split() for text in texts for line in text.splitlines()]
    return [line[1].split(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in links]


def logprobs(http: httpx.Client, **more: object) -> list[float]:
    answer = http.post("/v1/completions", json={**BODY, **more})
    assert answer.status_code == 200, answer.text
    found: list[float] = answer.json()["choices"][0]["logprobs"]["token_logprobs"]
    return found


def test_answers_are_the_oracles(http: httpx.Client, plain: Any) -> None:
    parts, prompt = ARCHITECTURES["llama"].parts, soft(plain, n_virtual=3, seed=7)
    data = safetensors.torch.save(dict(prompt.tensors), {"promptatlas": json.dumps({"kind": "soft", "base": "small"})})
    headers = {"Content-Type": "application/vnd.safetensors"}
    assert http.post("/v1/prompts", params={"name": "p"}, content=data, headers=headers).status_code == 201
    for more, used in (({}, None), ({"prompt_ref": "p"}, prompt), ({"model": "other"}, None)):
        run = oracle_generate(plain, parts, IDS, used, 6)
        expected = [float(row[i]) for row, i in zip(run.logprobs, run.token_ids, strict=True)]
        assert logprobs(http, **more) == pytest.approx(expected, abs=1e-4)
    body = {"model": "small", "inputs": [BODY["prompt"]], "sites": ["resid_post"], "layers": [1], "prompt_ref": "p"}
    answer = http.post("/v1/activations", json=body)
    assert answer.status_code == 200, answer.text
    states = oracle_states(plain, parts, IDS, prompt)["resid_post.1"][-len(IDS) :]
    found = safetensors.torch.load(answer.content)["resid_post.1"]
    assert (found - states).abs().max() < 1e-4


def test_the_card_is_that_of_the_whole_model(http: httpx.Client, plain: Any) -> None:
    card = http.get("/v1/models/small").json()
    assert card["device"] == "cpu, divided over 2 ranks"
    assert card["n_kv_heads"] == plain.config.num_key_value_heads


def test_no_rank_listens_on_the_network(service: Service) -> None:
    found = [address for pid in (service.engine_pid, *ranks_of(service)) for address in listening(pid)]
    assert set(found) == {"0100007F"}  # 127.0.0.1


def test_a_lost_rank_restarts_the_engine_with_all_ranks(service: Service, http: httpx.Client) -> None:
    before, engine, (rank,) = logprobs(http), service.engine_pid, ranks_of(service)
    os.kill(rank, signal.SIGKILL)
    wait_until(lambda: not is_alive(engine))
    wait_until(lambda: engines_of(service) not in ([], [engine]), why=service.log.read_text)
    wait_until(lambda: get(f"{service.url}/ready").status_code == 200, why=service.log.read_text)
    assert "tensor parallelism: rank 1 ended with status -9; this process ends" in service.log.read_text()
    (other,) = ranks_of(service)
    assert other != rank
    assert logprobs(http) == before


def test_the_ranks_end_with_the_service(service: Service) -> None:
    ranks = ranks_of(service)
    assert service.stop() == 0
    wait_until(lambda: not any(map(is_alive, ranks)))
    assert len(ranks) == 1
