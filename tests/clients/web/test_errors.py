"""Tests of what the page shows for unknown routes, unknown objects, and a server that does not respond."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import KEY, World, live_run


class Proxy:
    """A TCP proxy in front of the service whose connections can be cut, like those of a server that was killed."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Close all connections and refuse new ones."""
        self._is_cut = True
        self._close_all()

    def restore(self) -> None:
        """Accept connections again."""
        self._is_cut = False

    def close(self) -> None:
        self._listener.close()
        self._close_all()

    def _close_all(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._is_cut:
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def proxied(world: World) -> Iterator[Proxy]:
    """A proxy in front of the service of the tests."""
    target = urlsplit(world.url)
    assert target.hostname is not None
    assert target.port is not None
    proxy = Proxy(target.hostname, target.port)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.mark.parametrize("route", ["nonsense", "runs/a/b", "playground/x", "constructor"])
def test_an_unknown_route_shows_page_not_found_with_links(open_page: OpenPage, route: str) -> None:
    page = open_page(route)
    expect(page.get_by_role("heading", name="Page not found")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text(f"#/{route}")
    assert page.title() == "Page not found · Prompt Atlas"
    expect(page.locator("nav [aria-current]")).to_have_count(0)
    page.get_by_role("alert").get_by_role("link", name="Prompts").click()
    expect(page.get_by_role("heading", name="Prompts")).to_be_visible()


def test_an_unknown_model_is_named_and_the_hosted_ones_are_offered(open_page: OpenPage) -> None:
    page = open_page("playground?model=zzz&text=hello")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Unknown model")
    expect(alert).to_contain_text("zzz")
    alert.get_by_role("link", name="demo", exact=True).click()
    expect(page.get_by_label("Model")).to_have_value("demo")
    expect(page.get_by_label("Text", exact=True)).to_have_value("hello")


def test_a_missing_prompt_has_one_wording_in_all_views(open_page: OpenPage, world: World) -> None:
    detail = world.http.get("/v1/prompts/nobody/versions/3").json()["detail"]
    cards = (
        open_page("prompts/nobody/3").get_by_role("alert"),
        open_page("playground?text=x&prompts=nobody@3").locator(".answers").get_by_role("alert"),
        open_page("prompts/qa-isotropic-0/1?with=nobody@3").get_by_role("alert"),
    )
    for card in cards:
        expect(card.get_by_role("heading")).to_have_text("Not found")
        expect(card).to_contain_text(detail)


def test_a_missing_version_is_not_replaced_by_the_newest(open_page: OpenPage, world: World) -> None:
    page = open_page("prompts/qa-isotropic-0/99")
    expect(page.get_by_role("alert")).to_contain_text(
        world.http.get("/v1/prompts/qa-isotropic-0/versions/99").json()["detail"]
    )


def test_a_missing_run_is_not_found(open_page: OpenPage) -> None:
    page = open_page("runs/run-nothing")
    expect(page.get_by_role("alert")).to_contain_text("Not found")
    expect(page.get_by_role("alert")).to_contain_text("Go back to the list")


def test_a_view_is_retried_after_a_lost_connection(open_page: OpenPage) -> None:
    page = open_page("runs")
    expect(page.get_by_role("cell", name="small map")).to_be_visible()
    page.route("**/v1/prompts*", lambda route: route.abort())
    page.get_by_role("link", name="Prompts", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Is the server still running?")
    page.unroute("**/v1/prompts*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name="qa-isotropic-0")).to_be_visible()


def test_a_live_run_hides_eta_and_cancel_while_the_server_is_gone(open_page: OpenPage, world: World) -> None:
    with live_run(world, name="cut off") as run_id, proxied(world) as proxy:
        page = open_page()
        page.goto(f"{proxy.url}/#/runs/{run_id}")
        cancel, alert = page.get_by_role("button", name="Cancel"), page.get_by_role("alert")
        expect(cancel).to_be_visible()
        expect(page.locator(".facts")).to_contain_text("left")
        proxy.cut()
        expect(alert).to_contain_text("The server does not respond. Shown is the state at")
        expect(cancel).to_have_count(0)
        expect(page.locator(".facts")).not_to_contain_text("left")
        proxy.restore()
        expect(cancel).to_be_visible()
        expect(alert).to_have_count(0)
        expect(page.locator(".facts")).to_contain_text("left")


def test_the_list_is_marked_as_stale_while_the_server_is_gone(open_page: OpenPage, world: World) -> None:
    with live_run(world, name="in the list") as run_id:
        page = open_page("runs?status=running")
        eta = page.get_by_role("row").filter(has_text=run_id).locator(".eta")
        expect(eta).to_contain_text("left")
        page.route("**/v1/runs?*", lambda route: route.abort())
        expect(page.get_by_role("alert")).to_contain_text("The server does not respond. This list was loaded")
        expect(eta).to_be_hidden()
        page.unroute("**/v1/runs?*")
        expect(page.get_by_role("alert")).to_be_hidden()


def test_a_dismissed_key_dialog_stays_closed_until_the_user_retries(open_page: OpenPage) -> None:
    page = open_page("runs", key=None)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert")).to_contain_text("API key required")
    with page.expect_response("**/v1/runs?*"):  # the list is polled …
        pass
    page.wait_for_timeout(3000)
    expect(dialog).to_have_count(0)  # … without a question
    page.get_by_role("button", name="Try again").click()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="API key").click()
    dialog.get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("cell", name="small map")).to_be_visible()
