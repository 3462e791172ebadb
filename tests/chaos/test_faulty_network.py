"""The proxy through which scenarios make a bucket slow or take it away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.chaos.faulty_network import Proxy


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """In front of a server that sends back what it receives."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(peer,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    made = Proxy(listener.getsockname())
    yield made
    made.close()
    listener.close()


def echo(peer: socket.socket) -> None:
    while data := peer.recv(100):
        peer.sendall(data)


def connect(proxy: Proxy) -> socket.socket:
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def answer(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return connection.recv(100)


def test_an_open_and_a_slow_proxy_pass_everything_on(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert answer(connection, b"one") == b"one"
        assert proxy.n_faults == 0
        proxy.set("slow")
        assert answer(connection, b"two") == b"two"
        assert proxy.n_faults == 2


def test_a_dropped_proxy_ends_connections_and_takes_no_new_ones(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert answer(connection, b"one") == b"one"
        proxy.set("dropped")
        assert connection.recv(100) == b""
        with connect(proxy) as refused:
            assert refused.recv(100) == b""
        proxy.set("open")
        with connect(proxy) as again:
            assert answer(again, b"two") == b"two"


def test_a_stalled_proxy_answers_once_it_is_open_again(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert answer(connection, b"one") == b"one"
        proxy.set("stalled")
        connection.sendall(b"two")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        connection.settimeout(30)
        proxy.set("open")
        assert connection.recv(100) == b"two"
