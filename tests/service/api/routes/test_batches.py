"""Routes of files and batches, with a queue in memory and no worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.planning.kinds.batch import result_file_id
from tests.service.api.conftest import World
from tests.service.api.run_world import MemoryQueue, with_queue, work_on

LINE = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "demo:qa", "prompt": "x"}}
LINES = json.dumps(LINE).encode() + b"\n"


@pytest.fixture
def queue(world: World) -> MemoryQueue:
    return with_queue(world)


def upload(world: World, content: bytes = LINES, *, name: str = "in.jsonl") -> dict[str, Any]:
    answer = world.client.post("/v1/files", data={"purpose": "batch"}, files={"file": (name, content)})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def create(world: World, **changes: Any) -> Any:
    known = {"endpoint": "/v1/completions", "completion_window": "24h"}
    return world.client.post("/v1/batches", json={**known, **changes})


def test_a_file_is_stored_listed_and_deleted(world: World) -> None:
    files = [upload(world, name=f"{n}.jsonl") for n in range(3)]
    first = files[0]
    assert (first["object"], first["bytes"], first["purpose"], first["filename"]) == (
        "file",
        len(LINES),
        "batch",
        "0.jsonl",
    )
    assert world.client.get(f"/v1/files/{first['id']}").json() == first
    content = world.client.get(f"/v1/files/{first['id']}/content")
    assert content.content == LINES
    assert content.headers["x-content-type-options"] == "nosniff"
    page = world.client.get("/v1/files", params={"limit": 2}).json()
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([files[2]["id"], files[1]["id"]], True)
    rest = world.client.get("/v1/files", params={"after": page["last_id"]}).json()
    assert ([file["id"] for file in rest["data"]], rest["has_more"]) == ([first["id"]], False)
    assert world.client.get("/v1/files", params={"purpose": "batch_output"}).json()["data"] == []
    deleted = world.client.delete(f"/v1/files/{first['id']}").json()
    assert deleted == {"id": first["id"], "object": "file", "deleted": True}
    for path in ("", "/content"):
        gone = world.client.get(f"/v1/files/{first['id']}{path}")
        assert gone.status_code == 404
        assert gone.json()["error"]["message"] == f"There is no file '{first['id']}'."


def test_a_batch_waits_as_a_run(world: World, queue: MemoryQueue) -> None:
    file = upload(world)
    answer = create(world, input_file_id=file["id"], metadata={"a": "b"})
    assert answer.status_code == 200, answer.text
    batch = answer.json()
    assert queue.line == [(batch["run_id"], 1)]
    assert (batch["status"], batch["model"], batch["metadata"]) == ("validating", "demo", {"a": "b"})
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert (batch["input_file_id"], batch["output_file_id"], batch["errors"]) == (file["id"], None, None)
    assert batch["expires_at"] - batch["created_at"] == 24 * 3600
    assert world.client.get(f"/v1/batches/{batch['id']}").json() == batch
    run = world.client.get(f"/v1/runs/{batch['run_id']}").json()
    assert (run["kind"], run["spec"]["input_file_id"]) == ("batch", file["id"])
    assert run["resolved"]["base_revision"] == "rev-demo"


def test_the_states_of_a_batch(world: World, queue: MemoryQueue, tmp_path: Path) -> None:
    def get() -> dict[str, Any]:
        found: dict[str, Any] = world.client.get(f"/v1/batches/{batch['id']}").json()
        return found

    batch = create(world, input_file_id=upload(world)["id"]).json()
    writer = work_on(world, batch["run_id"])
    assert get()["status"] == "in_progress"
    writer.put_output("counts.json", b'{"total": 9, "completed": 4, "failed": 1}')
    assert get()["request_counts"] == {"total": 9, "completed": 4, "failed": 1}
    stopping = world.client.post(f"/v1/batches/{batch['id']}/cancel").json()
    assert stopping["status"] == get()["status"] == "cancelling"
    (tmp_path / "out").write_bytes(LINES)
    output = result_file_id(batch["run_id"], "output")
    world.services.files.create_once(output, tmp_path / "out", filename="o", purpose="batch_output")
    assert get()["output_file_id"] is None
    writer.finish("cancelled", metrics=None, error=None)
    done = get()
    assert (done["status"], done["output_file_id"], done["error_file_id"]) == ("cancelled", output, None)
    assert done["created_at"] <= done["in_progress_at"] <= done["cancelled_at"]
    again = world.client.post(f"/v1/batches/{batch['id']}/cancel")
    assert again.status_code == 409
    assert again.json()["error"]["message"]


def test_a_failed_batch_has_its_faults(world: World, queue: MemoryQueue) -> None:
    ids = [create(world, input_file_id=upload(world)["id"]).json() for _ in range(2)]
    faults = {"object": "list", "data": [{"code": "invalid_url", "line": 3, "message": "m", "param": "url"}]}
    for batch, has_faults in zip(ids, (True, False), strict=True):
        writer = work_on(world, batch["run_id"])
        if has_faults:
            writer.put_output("faults.json", json.dumps(faults).encode())
        writer.finish("failed", metrics=None, error="It failed.")
    first, second = (world.client.get(f"/v1/batches/{batch['id']}").json() for batch in ids)
    assert (first["status"], first["errors"]) == ("failed", faults)
    assert second["errors"]["data"][0]["message"] == "It failed."


def test_batches_are_listed_without_other_runs(world: World, queue: MemoryQueue) -> None:
    ids = [create(world, input_file_id=upload(world)["id"]).json()["id"] for _ in range(3)][::-1]
    world.services.runs.create("tune", spec={})
    page = world.client.get("/v1/batches", params={"limit": 2}).json()
    assert ([batch["id"] for batch in page["data"]], page["has_more"], page["last_id"]) == (ids[:2], True, ids[1])
    rest = world.client.get("/v1/batches", params={"after": page["last_id"]}).json()
    assert ([batch["id"] for batch in rest["data"]], rest["has_more"]) == (ids[2:], False)


def test_a_queued_batch_is_cancelled_at_once(world: World, queue: MemoryQueue) -> None:
    batch = create(world, input_file_id=upload(world)["id"]).json()
    assert world.client.post(f"/v1/batches/{batch['id']}/cancel").json()["status"] == "cancelled"
    assert queue.line == []


def test_a_repeated_request_starts_one_batch(world: World, queue: MemoryQueue) -> None:
    body = {"input_file_id": upload(world)["id"], "endpoint": "/v1/completions", "completion_window": "24h"}
    answers = [
        world.client.post("/v1/batches", json=body, headers={"Idempotency-Key": "stainless-1"}).json() for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert len(queue.line) == 1


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"input_file_id": "file-absent"}, 404, "input_file_id"),
        ({"input_file_id": "absent"}, 422, "input_file_id"),
        ({"endpoint": "/v1/embeddings"}, 422, "endpoint"),
        ({"completion_window": "1h"}, 422, "completion_window"),
        ({"output_expires_after": {}}, 422, "output_expires_after"),
    ],
)
def test_what_is_refused(world: World, queue: MemoryQueue, changes: dict[str, Any], status: int, param: str) -> None:
    answer = create(world, **{"input_file_id": upload(world)["id"], **changes})
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param
    assert queue.line == []


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 422), (b"{", 422), (b"[]", 422), (LINES.replace(b"demo", b"huge"), 404)]
)
def test_a_file_whose_first_line_names_no_hosted_model(
    world: World, queue: MemoryQueue, content: bytes, status: int
) -> None:
    answer = create(world, input_file_id=upload(world, content)["id"])
    assert answer.status_code == status
    assert queue.line == []


def test_an_output_is_no_input(world: World, queue: MemoryQueue, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(LINES)
    world.services.files.create_once("file-1-output", tmp_path / "out", filename="o", purpose="batch_output")
    answer = create(world, input_file_id="file-1-output")
    assert answer.status_code == 422
    assert "got 'batch_output'" in answer.json()["error"]["message"]


def test_other_runs_are_no_batches(world: World, queue: MemoryQueue) -> None:
    run_id = world.services.runs.create("tune", spec={}).id
    for batch_id in (f"batch_{run_id.removeprefix('run-')}", run_id, "batch_absent", "x" * 90):
        assert world.client.get(f"/v1/batches/{batch_id}").status_code == 404
        assert world.client.post(f"/v1/batches/{batch_id}/cancel").status_code == 404


@pytest.mark.parametrize(
    ("options", "status", "param"),
    [
        ({"json": {"purpose": "batch"}}, 415, None),
        ({"data": {"purpose": "batch"}, "files": {"other": b"x"}}, 422, "file"),
        ({"data": {"purpose": "assistants"}, "files": {"file": b"x"}}, 422, "purpose"),
        ({"files": {"file": b"x"}}, 422, "purpose"),
        ({"data": {"purpose": "batch", "file": "x"}, "files": {"a": b"x"}}, 422, "file"),
        ({"data": {"purpose": "batch"}, "files": {"file": b"x", "second": b"y"}}, 422, None),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 422, None),
    ],
)
def test_forms_that_are_no_uploads(world: World, options: dict[str, Any], status: int, param: str | None) -> None:
    answer = world.client.post("/v1/files", **options)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param
    assert world.client.get("/v1/files").json()["data"] == []
