"""Binding of the address that the service listens on."""

from __future__ import annotations

import socket

from service.settings import SettingsError


def bind(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address and does not listen yet.

    Raises:
        SettingsError: the address cannot be bound; the message gives the reason.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        raise SettingsError(f"cannot serve on {host}:{port}: {error.strerror or error}") from None
    return sock
