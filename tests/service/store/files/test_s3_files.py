"""Failures of S3: a server that is away, and one that refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from service.errors import StoreReadOnly, StoreUnavailable
from service.store.files.remote_files import open_files
from tests.integration.running import free_port


def environment(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that answers 403 to everything."""

    class Handler(BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _refuse  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    environment(monkeypatch, server.server_address[1])
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def calls(path: Path) -> dict[str, Callable[[], object]]:
    files = open_files("s3://bucket/folder")
    path.write_bytes(b"x")
    return {
        "read": lambda: files.read("a"),
        "read_many": lambda: files.read_many(["a", "b"]),
        "open": lambda: files.open("a").read(),
        "names": lambda: files.names(""),
        "walk": lambda: list(files.walk()),
        "check": files.check,
        "put": lambda: files.put("a", b"x"),
        "put_file": lambda: files.put_file("a", path),
        "create": lambda: files.create("a", b"x"),
        "remove": lambda: files.remove("a"),
        "remove_folder": lambda: files.remove_folder("a"),
    }


WRITES = ("put", "put_file", "create", "remove")


@pytest.mark.parametrize("name", ["read", "names", "put", "create"])
def test_a_store_that_is_away_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    environment(monkeypatch, free_port())
    with pytest.raises(StoreUnavailable, match="The store could not be") as caught:
        calls(tmp_path / "file")[name]()
    assert "127.0.0.1" not in caught.value.detail


def test_refusals_name_the_cause(refusing: None, tmp_path: Path) -> None:
    for name, call in calls(tmp_path / "file").items():
        with pytest.raises(StoreUnavailable, match="Permission denied") as caught:
            call()
        if name in WRITES:
            assert isinstance(caught.value, StoreReadOnly), name
