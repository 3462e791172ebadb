"""Distillation through a whole service: samples of the demo model, students of them and of its context, served by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from promptatlas import Client, InvalidRequestError

from service.queueing.embedded_redis import find_server
from service.settings import default_model_path
from tests.integration.running import Service, running_service

pytestmark = pytest.mark.skipif(find_server() is None, reason="no redis-server here")

SHOTS = {"shots": 2, "separator": "\n"}
STUDENTS: dict[str, Any] = {
    "model": "demo",
    "dataset": "demo-arithmetic-cot",
    "priors": [{"kind": "vocabulary"}],
    "seeds": [0, 1],
    "method": {"kind": "soft", "n_virtual": 4, "n_frozen": 1},
    "optimizer": {"steps": 6, "batch_size": 4, "lr": 0.02},
    "eval": {"every": 3, "n": 4, "metrics": ["numeric_match"], "samples": 100},
    "snapshots": 2,
}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    model = default_model_path(cwd=Path.cwd())
    with running_service(tmp_path, models=f"demo={model}", WORKERS="1", DEVICE="cpu", DTYPE="float32") as started:
        started.wait_until_ready()
        yield started


def test_from_samples_to_students_that_are_served(service: Service) -> None:
    with Client(service.url, progress=False, environ={}) as client:
        samples = client.runs.generate(
            model="demo",
            dataset="demo-arithmetic-cot",
            name="chains",
            split="train",
            n_items=24,
            max_tokens=40,
            context=SHOTS,
            stop=["\n"],
            logprobs=8,
            answer={"find": "last_number"},
        )
        samples.wait()
        _assert_a_file_teaches(client)
        _assert_a_context_teaches(client)
        with pytest.raises(InvalidRequestError, match="at most 8"):
            client.runs.distill(**STUDENTS, teacher={"dataset": "chains"}, loss=[{"kind": "kl", "top_k": 9}])


def _assert_a_file_teaches(client: Client) -> None:
    run = client.runs.distill(
        **STUDENTS,
        name="short",
        teacher={"dataset": "chains"},
        target={"part": {"steps": 0.5}},
        loss=[{"kind": "kl", "top_k": 8}, {"kind": "sequence", "weight": 0.1}],
    )
    run.wait()
    assert {"test/numeric_match", "test/n_generated", "test/n_generated_p95", "test/cut"} <= set(run.outcome)
    assert "test/kl" not in run.outcome
    assert len(run.info.prompts) == 2
    text = client.completions.create(model="demo", prompt="20 - 7 =", prompt_ref=run.info.prompts[0], max_tokens=4)
    assert text.choices[0].finish_reason in ("stop", "length")


def _assert_a_context_teaches(client: Client) -> None:
    run = client.runs.distill(
        **STUDENTS, name="instructed", teacher={"context": SHOTS}, loss=[{"kind": "jsd"}], on_policy=0.5
    )
    run.wait()
    assert 0 <= run.outcome["test/agreement"] <= 1
    assert run.outcome["test/kl"] >= 0
    assert "teacher/test/numeric_match" in run.outcome
    assert {row["stage"] for row in run.evaluation()} == {"bare", "before", "after", "teacher"}
