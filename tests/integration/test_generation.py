"""Generated datasets and batches through a whole service with two workers; batches by the official client."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from promptatlas import Client, InvalidRequestError

from service.queueing.embedded_redis import find_server
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.traces.store import TraceStore
from tests.integration.running import Service, command_of, running_service, wait_until
from tests.integration.test_runs import descendants_of, part
from tests.workers.generate.fake_teacher import FakeTeacher, running_teacher

pytestmark = pytest.mark.skipif(find_server() is None, reason="no redis-server here")

ROWS = [{"input": f"{n}+{n % 7}=", "target": str(n + n % 7)} for n in range(600)]
KEY = "sk-of-the-teacher"


@pytest.fixture(scope="module")
def teacher() -> Iterator[FakeTeacher]:
    with running_teacher() as running:
        yield running


@pytest.fixture(scope="module")
def service(model_path: Path, teacher: FakeTeacher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(
        tmp_path_factory.mktemp("generation"),
        models=f"tiny={model_path}",
        WORKERS="2",
        DEVICE="cpu",
        DTYPE="float32",
        TEACHERS=f"outside={teacher.url}",
        TEACHER_KEYS=f"outside={KEY}",
    ) as started:
        started.wait_until_ready()
        wait_until(lambda: "2 workers" in str(part(started, "workers")["detail"]), why=started.log.read_text)
        yield started


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, progress=False, environ={}) as opened:
        if "sums" not in [info.name for info in opened.datasets.list()]:
            opened.datasets.upload("sums", records=ROWS)
        yield opened


@pytest.fixture
def ai(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def home_of(service: Service) -> Path:
    return service.log.parent / "store"


def shards_of(service: Service, run_id: str, folder: str) -> list[Path]:
    return list((home_of(service) / "runs" / run_id / "outputs").glob(f"{folder}*/manifest.json"))


def freeze(service: Service, run_id: str) -> int:
    """Stop the process that has a run, so that a helper does the rest; returns its id."""
    horse = next(pid for pid in descendants_of(service.pid) if f"{run_id}_1" in command_of(pid))
    os.kill(horse, signal.SIGSTOP)
    return horse


SPEC: dict[str, Any] = {
    "model": "tiny",
    "dataset": "sums",
    "n": 2,
    "max_tokens": 12,
    "logprobs": 3,
    "shard_samples": 60,
}


def test_two_workers_make_one_dataset(client: Client, service: Service) -> None:
    run = client.runs.generate(name="helped", **SPEC)
    assert run.info.model_dump()["resolved"]["estimate"] == {"n_items": 600, "n_samples": 1200}
    wait_until(lambda: shards_of(service, run.id, "traces"), why=service.log.read_text)
    horse = freeze(service, run.id)
    n_before = len(shards_of(service, run.id, "traces"))
    wait_until(lambda: len(shards_of(service, run.id, "traces")) >= 19, why=service.log.read_text)
    os.kill(horse, signal.SIGCONT)
    run.wait()
    assert run.outcome["made"] == 1200
    assert run.outcome["n_shards_by_helpers"] >= 20 - n_before - 1
    alone = client.runs.generate(name="alone", reuse=False, **SPEC)
    alone.wait()
    # The same records, whichever worker made them.
    helped = client.datasets.get("helped")
    assert client.datasets.get("alone").sha256 == helped.sha256
    assert helped.traces is not None
    assert helped.traces.run_id == run.id
    reader = TraceStore(ArtifactStore(str(home_of(service))), max_bytes=1).top_tokens("helped")
    assert reader.n_rows == helped.n_records
    first = client.datasets.peek("helped", limit=1).data[0]
    assert first.record is not None
    text = client.completions.create(
        model="tiny", prompt=first.input or "", max_tokens=12, seed=first.record["seed"], temperature=1.0
    )
    assert text.choices[0].text == first.target


def test_a_killed_worker_costs_no_sample(client: Client, service: Service) -> None:
    run = client.runs.generate(name="killed", reuse=False, **SPEC)
    wait_until(lambda: len(shards_of(service, run.id, "traces")) > 2, why=service.log.read_text)
    horse = next(pid for pid in descendants_of(service.pid) if f"{run.id}_1" in command_of(pid))
    os.kill(horse, signal.SIGKILL)
    run.wait()
    assert run.info.attempts == 2
    whole = client.runs.generate(name="whole", **SPEC)
    whole.wait()
    assert client.datasets.get("killed").sha256 == client.datasets.get("whole").sha256


def test_a_teacher_of_the_settings(client: Client, teacher: FakeTeacher) -> None:
    assert client.capabilities().teachers == ["outside"]
    n_before = len(teacher.requests)
    run = client.runs.generate(
        model="big", dataset="sums", name="taught", teacher="outside", context=[], n_items=20, keep="majority", n=3
    )
    run.wait()
    assert len(teacher.requests) - n_before == 60
    assert teacher.keys[-1] == f"Bearer {KEY}"
    record = client.datasets.peek("taught", limit=1).data[0].record
    assert record is not None
    assert record["revision"] == "fp-7"
    with pytest.raises(InvalidRequestError) as refused:
        client.runs.generate(model="big", dataset="sums", name="taught", teacher="outside")
    assert refused.value.errors[0].loc == ["spec", "name"]


def lines_of(*requests: dict[str, Any], url: str = "/v1/completions") -> bytes:
    rows = [
        {"custom_id": f"request-{i}", "method": "POST", "url": url, "body": {"model": "tiny", **request}}
        for i, request in enumerate(requests)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def finished(ai: openai.OpenAI, batch_id: str) -> Any:
    wait_until(lambda: ai.batches.retrieve(batch_id).status in ("completed", "failed", "cancelled"))
    return ai.batches.retrieve(batch_id)


def counts_of(ai: openai.OpenAI, batch_id: str) -> Any:
    return ai.batches.retrieve(batch_id).request_counts


def assert_close(found: Any, wanted: Any) -> None:
    """Equal, apart from the rounding of numbers."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_close(found[key], wanted[key])
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_close(one, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=1e-4)
    else:
        assert found == wanted


def test_a_batch_by_the_official_client(ai: openai.OpenAI, client: Client, service: Service) -> None:
    good: list[dict[str, Any]] = [
        {"prompt": f"{n}+", "max_tokens": 6, "temperature": 0, "logprobs": n % 3} for n in range(40)
    ]
    bad: list[dict[str, Any]] = [
        {"prompt": "a", "max_tokens": -1},
        {"prompt": "a", "max_tokens": 10**6},
        {"model": "tiny:absent", "prompt": "a"},
    ]
    file = ai.files.create(file=("requests.jsonl", lines_of(*good, *bad)), purpose="batch")
    assert (file.filename, file.purpose, file.status) == ("requests.jsonl", "batch", "processed")
    assert file.bytes == len(lines_of(*good, *bad))
    assert ai.files.content(file.id).content == lines_of(*good, *bad)
    batch = ai.batches.create(
        input_file_id=file.id, endpoint="/v1/completions", completion_window="24h", metadata={"of": "a test"}
    )
    assert batch.status in ("validating", "in_progress")
    done = finished(ai, batch.id)
    assert (done.status, done.metadata, done.errors) == ("completed", {"of": "a test"}, None)
    assert done.created_at <= done.in_progress_at <= done.completed_at
    assert abs(done.created_at - time.time()) < 600
    counts = done.request_counts
    assert (counts.total, counts.completed, counts.failed) == (43, 40, 3)
    output = [json.loads(line) for line in ai.files.content(done.output_file_id).text.splitlines()]
    assert [row["custom_id"] for row in output] == [f"request-{i}" for i in range(40)]
    assert len({row["id"] for row in output}) == 40
    for row, body in zip(output, good, strict=True):
        assert (row["error"], row["response"]["status_code"]) == (None, 200)
        # The same response as at the route, except for its id and time; batches differ in their rounding.
        live = ai.completions.create(model="tiny", **body).model_dump()
        found = openai.types.Completion.model_validate(row["response"]["body"]).model_dump()
        assert_close(found, {**live, "id": found["id"], "created": found["created"]})
    errors = [json.loads(line) for line in ai.files.content(done.error_file_id).text.splitlines()]
    assert [row["custom_id"] for row in errors] == ["request-40", "request-41", "request-42"]
    for row, body in zip(errors, bad, strict=True):
        with pytest.raises(openai.APIStatusError) as refused:
            ai.completions.create(**{"model": "tiny", **body})
        assert row["response"]["status_code"] == refused.value.status_code
        live_error = refused.value.response.json()["error"]
        assert row["response"]["body"]["error"] == live_error
    assert next(each.id for each in ai.batches.list(limit=1)) == batch.id
    listed = client.runs.list(kind="batch").data[0]
    assert listed.id == done.model_dump()["run_id"]
    assert {each.id for each in ai.files.list()} >= {file.id, done.output_file_id, done.error_file_id}
    assert ai.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        ai.files.retrieve(file.id)


def test_a_batch_of_chats_under_a_prompt(ai: openai.OpenAI, client: Client) -> None:
    import numpy as np

    from tests.integration.tiny_model import D_MODEL

    client.prompts.upload("batched", tensors={"soft": np.ones((2, D_MODEL), np.float32)}, base="tiny")
    requests = [
        {"model": model, "messages": [{"role": "user", "content": f"word {n}"}], "temperature": 0, "max_tokens": 5}
        for n in range(4)
        for model in ("tiny", "tiny:batched")
    ]
    file = ai.files.create(file=("chats.jsonl", lines_of(*requests, url="/v1/chat/completions")), purpose="batch")
    batch = ai.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    done = finished(ai, batch.id)
    assert done.request_counts.completed == len(requests)
    assert done.error_file_id is None
    output = [json.loads(line) for line in ai.files.content(done.output_file_id).text.splitlines()]
    for row, body in zip(output, requests, strict=True):
        live = ai.chat.completions.create(**body)  # type: ignore[call-overload]
        found = openai.types.chat.ChatCompletion.model_validate(row["response"]["body"])
        assert_close(found.model_dump()["choices"], live.model_dump()["choices"])
        assert found.usage == live.usage


def test_an_invalid_file_fails_with_its_lines(ai: openai.OpenAI) -> None:
    rows = lines_of({"prompt": "a"}, {"prompt": "b"}).splitlines(keepends=True)
    bad = [
        rows[0],
        b"\n",
        b"{\n",
        rows[0],
        rows[1].replace(b"completions", b"embeddings"),
        rows[1].replace(b"tiny", b"huge"),
    ]
    file = ai.files.create(file=("bad.jsonl", b"".join(bad)), purpose="batch")
    batch = ai.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
    done = finished(ai, batch.id)
    assert (done.status, done.output_file_id, done.failed_at is not None) == ("failed", None, True)
    assert [(fault.line, fault.code) for fault in done.errors.data] == [
        (3, "invalid_json_line"),
        (4, "duplicate_custom_id"),
        (5, "invalid_url"),
        (6, "mismatched_model"),
    ]
    for content in (b"", b"{}\n", b'{"body": {"model": "absent"}}\n'):
        file = ai.files.create(file=("bad.jsonl", content), purpose="batch")
        with pytest.raises(openai.APIStatusError) as refused:
            ai.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
        assert refused.value.status_code in (404, 422)
    with pytest.raises(openai.NotFoundError):
        ai.batches.create(input_file_id="file-absent", endpoint="/v1/completions", completion_window="24h")
    with pytest.raises(openai.UnprocessableEntityError):
        ai.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    with pytest.raises(openai.UnprocessableEntityError, match="Expected purpose 'batch', got 'fine-tune'"):
        ai.files.create(file=("bad.jsonl", b"{}"), purpose="fine-tune")
    with pytest.raises(openai.NotFoundError):
        ai.batches.retrieve("batch_absent")


def test_a_cancelled_batch_keeps_its_responses(ai: openai.OpenAI, service: Service) -> None:
    requests = [{"prompt": f"{n}", "max_tokens": 100, "ignore_eos": True} for n in range(5000)]
    file = ai.files.create(file=("many.jsonl", lines_of(*requests)), purpose="batch")
    batch = ai.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
    wait_until(lambda: counts_of(ai, batch.id).completed > 0, why=service.log.read_text)
    running = ai.batches.retrieve(batch.id)
    assert running.status == "in_progress"
    assert counts_of(ai, batch.id).total == 5000
    stopping = ai.batches.cancel(batch.id)
    assert stopping.status in ("cancelling", "cancelled")
    done = finished(ai, batch.id)
    assert done.status == "cancelled"
    assert done.cancelled_at is not None
    n_kept = len(ai.files.content(done.output_file_id).text.splitlines())
    assert 0 < n_kept == done.request_counts.completed < 5000
    with pytest.raises(openai.ConflictError):
        ai.batches.cancel(batch.id)


def test_forms_that_are_no_files(service: Service) -> None:
    def post(**options: Any) -> httpx.Response:
        return httpx.post(f"{service.url}/v1/files", **options)

    assert post(json={"purpose": "batch"}).status_code == 415
    assert post(data={"purpose": "batch"}, files={"other": b"x"}).json()["error"]["param"] == "file"
    assert post(files={"file": b"x"}).json()["error"]["param"] == "purpose"
    broken = post(content=b"nothing", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert broken.status_code == 422
