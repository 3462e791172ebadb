from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from service.store.artifacts.store import ArtifactStore
from service.store.runs.expiry import ExpiredPart, RunExpiry
from tests.service.api.conftest import World
from tests.service.api.run_world import start, with_queue, work_on


@pytest.fixture
def run_id(world: World) -> str:
    with_queue(world)
    return start(world)


def leave(world: World, run_id: str, **files: bytes) -> str:
    """Let a worker leave files; the address of the run's artifacts."""
    writer = work_on(world, run_id)
    for path, data in files.items():
        writer.put_output(path, data)
    return f"/v1/runs/{run_id}/artifacts"


def test_files_are_listed_and_come_back_whole(world: World, run_id: str) -> None:
    big = bytes(range(256)) * 10_000
    paths = {"draws/qa@1.safetensors": big, "ünï cödé #?.txt": b"x", "empty.json": b""}
    url = leave(world, run_id, **paths)
    listed = world.client.get(url).json()["data"]
    assert {item["path"]: item["n_bytes"] for item in listed} == {path: len(data) for path, data in paths.items()}
    for item in listed:
        answer = world.client.get(f"{url}/{quote(item['path'])}")
        assert answer.status_code == 200
        assert answer.content == paths[item["path"]]
        assert answer.headers["content-length"] == str(item["n_bytes"])
        assert answer.headers["etag"] == f'"{item["sha256"]}"'


@pytest.mark.parametrize(
    ("path", "media", "shown"),
    [
        ("draw.safetensors", "application/vnd.safetensors", False),
        ("rows.jsonl", "application/jsonl", True),
        ("summary.json", "application/json", True),
        ("notes.txt", "text/plain; charset=utf-8", True),
        ("points.parquet", "application/vnd.apache.parquet", False),
        ("page.html", "text/html; charset=utf-8", False),
        ("picture.SVG", "image/svg+xml", False),
        ("events.out.tfevents.1", "application/octet-stream", False),
        ("report.html", "text/html; charset=utf-8", True),
        ("report.html.exe", "application/octet-stream", False),
    ],
)
def test_a_browser_is_told_what_to_do_with_a_file(
    world: World, run_id: str, path: str, media: str, shown: bool
) -> None:
    answer = world.client.get(f"{leave(world, run_id, **{path: b'x'})}/{path}")
    assert answer.headers["content-type"] == media
    assert answer.headers["content-disposition"].startswith("inline" if shown else "attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_only_a_report_may_run_scripts_and_none_has_this_origin(world: World, run_id: str) -> None:
    url = leave(world, run_id, **{"report.html": b"x", "page.html": b"x"})
    report, page = (
        world.client.get(f"{url}/{path}").headers["content-security-policy"] for path in ("report.html", "page.html")
    )
    assert "allow-scripts" in report
    assert "allow-scripts" not in page
    for policy in (report, page):
        assert "sandbox" in policy
        assert "allow-same-origin" not in policy
        assert "default-src 'none'" in policy
        assert "connect-src" not in policy


@pytest.mark.parametrize(
    "path", ["nope", "..%2F..%2Fmanifest.json", "%2e%2e%2fmanifest.json", "a//b", "%00", "x" * 500]
)
def test_what_was_not_left_is_not_found(world: World, run_id: str, path: str) -> None:
    assert world.client.get(f"{leave(world, run_id)}/{path}").status_code == 404


def test_a_damaged_file_never_comes_whole(world: World, run_id: str, tmp_path: Path) -> None:
    data = b"a" * 3000
    url = leave(world, run_id, **{"big.bin": data})
    stored = next(path for path in (tmp_path / "store").rglob("*_data") if path.read_bytes() == data)
    stored.write_bytes(data[:-1] + b"b")
    received = bytearray()
    # However the client words it; and the log is not to be drawn with colours and frames.
    with capture_logs() as logged, suppress(Exception), world.client.stream("GET", f"{url}/big.bin") as answer:
        for piece in answer.iter_bytes():
            received.extend(piece)
    assert len(received) < len(data)
    assert "request failed" in [line["event"] for line in logged]


def test_expired_artifacts_are_gone_and_the_run_names_them(world: World, run_id: str, tmp_path: Path) -> None:
    writer = work_on(world, run_id)
    writer.put_output("draw.bin", b"x" * 9)
    writer.emit("metric", {"step": 1, "loss": 0.5})
    writer.finish("succeeded")
    parts = [
        ExpiredPart(part="artifact", path="draw.bin", n_bytes=9, expired_at="2026-11-24T12:00:00.000000Z"),
        ExpiredPart(part="events", n_bytes=7, expired_at="2026-11-24T12:00:00.000000Z"),
    ]
    assert RunExpiry(ArtifactStore(str(tmp_path / "store"))).expire(run_id, parts)
    for path in ("artifacts/draw.bin", "metrics"):
        answer = world.client.get(f"/v1/runs/{run_id}/{path}")
        assert answer.status_code == 410
        assert answer.json()["type"] == "urn:promptatlas:problem:expired"
        assert "expired" in answer.json()["detail"]
    assert world.client.get(f"/v1/runs/{run_id}/artifacts/never.bin").status_code == 404
    run = world.client.get(f"/v1/runs/{run_id}").json()
    assert [(item["part"], item["path"], item["n_bytes"]) for item in run["expired"]] == [
        ("artifact", "draw.bin", 9),
        ("events", None, 7),
    ]
    assert (run["status"], run["artifacts"]) == ("succeeded", [])
