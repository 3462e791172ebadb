"""Pages of other origins in a real browser, against a service without keys: what they send is refused."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.browser import FLAGS
from service.app import create_app, create_services
from service.hosting.ipc.engine_client import EngineClient
from service.settings import Settings
from tests.service.api.conftest import STATE, ScriptedEnd, echo

SLOW_MS = 60_000
UPLOAD = "/v1/datasets?name=planted&format=text"
TEXT = "The keeper climbed the long stairs of the tower every evening."

# Each attack ends when the browser has the response, or has refused to send the request.
ATTACKS = {
    "blob without a type": "fetch(url + '{upload}', {{method: 'POST', mode: 'no-cors', body: new Blob(['{text}'])}})",
    "plain text": "fetch(url + '{upload}', {{method: 'POST', mode: 'no-cors', body: '{text}'}})",
    "no referrer": (
        "fetch(url + '{upload}', {{method: 'POST', mode: 'no-cors', referrerPolicy: 'no-referrer', body: '{text}'}})"
    ),
    "multipart": """fetch(url + '/v1/completions', {{method: 'POST', mode: 'no-cors', body: (() => {{
        const form = new FormData(); form.append('request', '{{"model":"demo","prompt":"hi"}}'); return form;
    }})()}})""",
    "read": "fetch(url + '/v1/datasets/kept').then(response => response.text())",
    "delete": "fetch(url + '/v1/datasets/kept', {{method: 'DELETE'}})",
    "image": """new Promise(done => {{
        const image = new Image(); image.onload = image.onerror = done; image.src = url + '/v1/datasets/hub:own/nope';
    }})""",
    "form": """new Promise(done => {{
        document.body.innerHTML = '<iframe name=f></iframe><form method=POST enctype=text/plain target=f><input name=x>';
        const form = document.forms[0]; form.action = url + '{upload}';
        document.querySelector('iframe').onload = done; form.submit();
    }})""",
}


@dataclass
class Site:
    """A running service without keys. responses: method, path and status of each response."""

    url: str
    end: ScriptedEnd
    names: Callable[[], list[str]]
    responses: list[tuple[str, str, int]] = field(default_factory=list)


@contextmanager
def serving(folder: Path, *, allowed_origins: tuple[str, ...] = ()) -> Iterator[Site]:
    """The application on a free loopback port, in a thread, with an engine that answers from a script."""
    end = ScriptedEnd(echo)
    engine = end.engine = EngineClient(end, max_pending=8)
    engine.on_message(STATE)
    services = create_services(Settings(home=str(folder / "store"), allowed_origins=allowed_origins), engines=[engine])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = Site(
            url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            end=end,
            names=lambda: [row.name for row in services.datasets.list_datasets().items if not row.builtin],
        )
        app = recording(create_app(services), site=site)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield site
        finally:
            server.should_exit = True
            thread.join()


def recording(app: ASGIApp, *, site: Site) -> ASGIApp:
    async def record(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                site.responses.append((scope["method"], scope["path"], message["status"]))
            await send(message)

        await app(scope, receive, send_recorded)

    return record


class EmptyPage(BaseHTTPRequestHandler):
    """The page of another origin: empty, since the tests run their scripts in it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<body></body>")

    def log_message(self, *_args: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def foreign_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def resolving_browser(chromium: str) -> Iterator[Browser]:
    """A browser for which evil.example is this machine, as after DNS rebinding."""
    flags = [*FLAGS, "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=flags, timeout=3 * SLOW_MS)
        yield started
        started.close()


@pytest.fixture
def page(resolving_browser: Browser) -> Iterator[Page]:
    context = resolving_browser.new_context()
    opened = context.new_page()
    opened.set_default_timeout(SLOW_MS)
    yield opened
    context.close()


def attack(page: Page, script: str, *, url: str) -> None:
    code = script.format(upload=UPLOAD, text=TEXT)
    page.evaluate(f"async url => {{ try {{ await {code} }} catch (error) {{ return String(error) }} }}", url)


def keep_dataset(page: Page, site: Site) -> None:
    """Upload from the service's own page, which shows that the attacks do not fail for another reason."""
    page.goto(f"{site.url}/health")
    code = """async body => (await fetch('/v1/datasets?name=kept&format=text', {
        method: 'POST', body, headers: {'Content-Type': 'application/octet-stream'}})).status"""
    assert page.evaluate(code, TEXT) == 201


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_pages_of_other_origins_reach_nothing(page: Page, tmp_path: Path, foreign_port: int, host: str) -> None:
    with serving(tmp_path) as site:
        keep_dataset(page, site)
        for name, script in ATTACKS.items():
            page.goto(f"http://{host}:{foreign_port}/")
            site.responses.clear()
            attack(page, script, url=site.url)
            # Chromium itself may refuse to connect from a page of the network to this machine.
            assert {status for _, _, status in site.responses} <= {403}, (name, site.responses)
            assert site.responses or host == "evil.example", name
        assert site.names() == ["kept"]
        assert site.end.received == []


def test_the_own_page_is_answered(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        for route in ("runs", "prompts", "atlas", "reports"):
            page.goto(f"{site.url}/#/{route}")
            page.reload(wait_until="networkidle")
        paths = {path for _, path, _ in site.responses}
        assert {"/", "/web/js/main.js", "/v1/runs", "/v1/prompts"} <= paths
        assert 403 not in {status for _, _, status in site.responses}


def test_a_name_that_resolves_to_this_machine_is_refused(page: Page, tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        keep_dataset(page, site)
        rebound = site.url.replace("127.0.0.1", "evil.example")
        answer = page.goto(f"{rebound}/")
        assert answer is not None
        assert answer.status == 403
        assert answer.json()["type"] == "urn:promptatlas:problem:host-not-allowed"
        code = "async () => (await fetch('/v1/datasets/kept', {method: 'DELETE'})).status"
        assert page.evaluate(code) == 403
        assert site.names() == ["kept"]


def test_an_allowed_origin_reads_and_writes(page: Page, tmp_path: Path, foreign_port: int) -> None:
    origin = f"http://localhost:{foreign_port}"
    with serving(tmp_path, allowed_origins=(origin,)) as site:
        page.goto(origin)
        code = """async url => {
            const response = await fetch(url + '/v1/completions', {method: 'POST',
                body: '{"model": "demo", "prompt": "hi"}', headers: {'Content-Type': 'application/json'}});
            return [response.status, (await response.json()).choices[0].text, response.headers.get('x-request-id')];
        }"""
        status, text, request_id = page.evaluate(code, site.url)
        assert (status, text) == (200, "hi!0")
        assert request_id
        page.goto(f"http://127.0.0.1:{foreign_port}/")
        assert "TypeError" in page.evaluate(f"url => ({code})(url).catch(String)", site.url)
