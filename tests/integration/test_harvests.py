"""Harvests through a whole service with two workers, read back by the SDK."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from promptatlas import Client, NotFoundError, ProblemError
from transformers import AutoTokenizer, LlamaForCausalLM, T5ForConditionalGeneration

from service.engine.model.hosted_model import HostedModel
from service.queueing.embedded_redis import find_server
from service.settings import Settings
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from tests.integration.running import Service, command_of, running_service, wait_until
from tests.integration.test_runs import descendants_of, part
from tests.workers.harvest.field import FakeCoordinator, SharedFakeRun
from tests.workers.harvest.small_t5 import plain_states, save_t5
from workers.harvest.run import harvest
from workers.harvest.shards.plan import PlanFile

pytestmark = pytest.mark.skipif(find_server() is None, reason="no redis-server here")

ROWS = [
    {"input": f"{n}+{n % 7}=", "target": str(n + n % 7), "task": "even" if n % 2 == 0 else "odd"} for n in range(600)
]
SPEC: dict[str, Any] = {"model": "tiny", "dataset": "sums", "layers": [1], "shard_bytes": 4096}


@pytest.fixture(scope="module")
def t5_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t5")
    save_t5(folder)
    return folder


@pytest.fixture(scope="module")
def service(model_path: Path, t5_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(
        tmp_path_factory.mktemp("harvests"),
        models=f"tiny={model_path}",
        READ_MODELS=f"t5={t5_path}",
        WORKERS="2",
        DEVICE="cpu",
        DTYPE="float32",
    ) as started:
        started.wait_until_ready()
        wait_until(lambda: "2 workers" in str(part(started, "workers")["detail"]), why=started.log.read_text)
        yield started


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, progress=False, environ={}) as opened:
        yield opened


def test_two_workers_make_one_harvest(client: Client, service: Service, model_path: Path, tmp_path: Path) -> None:
    client.datasets.upload("sums", records=ROWS)
    run = client.harvest.create(**SPEC)
    estimate = run.info.model_dump()["resolved"]["estimate"]
    assert estimate["n_texts"] == len(ROWS)
    # The worker that has the run falls asleep over it; one that came to help does all but what that one has begun.
    wait_until(lambda: shards_of(service, run.id), why=service.log.read_text)
    horse = next(pid for pid in descendants_of(service.pid) if f"{run.id}_1" in command_of(pid))
    os.kill(horse, signal.SIGSTOP)
    n_before = len(shards_of(service, run.id))
    plan = PlanFile(ArtifactStore(str(store_of(service))), run_id=run.id).load()
    assert plan is not None
    wait_until(lambda: len(shards_of(service, run.id)) >= len(plan.shards) - 1, why=service.log.read_text)
    os.kill(horse, signal.SIGCONT)
    run.wait()
    assert run.outcome["n_texts"] == len(ROWS)
    assert run.outcome["n_shards_by_helpers"] >= run.outcome["n_shards"] - n_before - 1 > 0
    with run.open() as read:
        assert_states_are_plain(read.tensor("resid_post.1"), model_path)
        assert read.texts[12] == "12+5=17"
        task = read.column("task")
        assert task is not None
        assert set(task.tolist()) == {"even", "odd"}
        hashes = {shard.path: shard.sha256 for shard in read.manifest.shards}
    # And one worker alone, in another process, makes the same bytes.
    assert alone(run.id, model_path, tmp_path) == hashes


def store_of(service: Service) -> Path:
    return service.log.parent / "store"


def shards_of(service: Service, run_id: str) -> list[Path]:
    return list((store_of(service) / "runs" / run_id / "outputs").glob("shards*/manifest.json"))


def assert_states_are_plain(states: np.ndarray, model_path: Path) -> None:
    tokenizer, plain = AutoTokenizer.from_pretrained(model_path), LlamaForCausalLM.from_pretrained(model_path).eval()
    expected = []
    with torch.inference_mode():
        for row in ROWS:
            ids = tokenizer(row["input"])["input_ids"] + tokenizer(row["target"])["input_ids"]
            expected.append(plain(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0])
    np.testing.assert_allclose(states, torch.cat(expected).numpy(), rtol=1e-4, atol=1e-4)


def alone(run_id: str, model_path: Path, home: Path) -> dict[str, str]:
    torch.set_num_threads(1)
    artifacts = ArtifactStore(str(home))
    datasets = DatasetStore(artifacts)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    datasets.create("sums", format="jsonl", stream=io.BytesIO(lines.encode()))
    model = HostedModel.load("tiny", str(model_path), device="cpu", dtype="float32")
    run = SharedFakeRun(SPEC, {"tiny": model}, artifacts, datasets, run_id=run_id, settings=Settings())
    run.coordinator = FakeCoordinator()
    harvest(run)
    shards = json.loads(run.outputs["manifest.json"])["shards"]
    return {shard["path"]: shard["sha256"] for shard in shards}


def test_an_encoder_decoder_is_read_and_not_hosted(client: Client, t5_path: Path) -> None:
    [listed] = client.capabilities().read_models
    assert (listed.name, listed.architecture, listed.n_encoder_layers) == ("t5", "t5", 3)
    assert "decoder.resid_post" in listed.sites
    assert [model.id for model in client.models.list()] == ["tiny"]
    with pytest.raises(NotFoundError):
        client.completions.create(model="t5", prompt="t5")
    with pytest.raises(ProblemError) as refused:
        client.harvest.create(model="t5", dataset="words", sites=["encoder.embed"])
    assert refused.value.status == 404
    client.datasets.upload("words", records=[{"input": f"t{n} t9", "target": f"t{n + 1}"} for n in range(5, 9)])
    with pytest.raises(ProblemError) as refused:
        client.harvest.create(model="t5", dataset="words", sites=["resid_post"])
    assert refused.value.errors[0].loc == ["spec", "sites", 0]
    sites = ["encoder.resid_post", "decoder.final_norm"]
    with client.harvest.create(model="t5", dataset="words", sites=sites, layers=[0], reduce="mean").open() as read:
        plain = T5ForConditionalGeneration.from_pretrained(t5_path).eval()
        states = [plain_states(plain, (n, 9, 1), (0, n + 1)) for n in range(5, 9)]
        for name in ("encoder.resid_post.0", "decoder.final_norm"):
            wanted = torch.stack([each[name].mean(0) for each in states])
            np.testing.assert_allclose(read.tensor(name), wanted.numpy(), rtol=1e-4, atol=1e-4)
