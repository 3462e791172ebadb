"""Connection of a command to a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import typer

from promptatlas.client import Client

Connect = Callable[[str | None, str | None], Client]
"""Opens a client, given the URL and the key of the command line."""


class Connector:
    """Opens clients for commands. connect: replaces ``promptatlas.Client``."""

    def __init__(self, connect: Connect | None) -> None:
        self._connect = connect or (lambda url, api_key: Client(url, api_key=api_key))

    def open(self, url: str | None, api_key: str | None) -> Client:
        """A client for the URL and the key of the command line."""
        return self._connect(url, api_key)


def client_for(context: typer.Context, url: str | None, api_key: str | None) -> Client:
    """The client of a command."""
    return cast(Connector, context.obj).open(url, api_key)
