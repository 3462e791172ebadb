"""What every command takes: which server, which key, and JSON or a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, cast

import typer

from promptatlas.client import Client

Connect = Callable[[str | None, str | None], Client]
"""Opens a client, given the URL and the key from the command line."""

Url = Annotated[str | None, typer.Option("--url", help="Server; else PROMPTATLAS_URL, else http://127.0.0.1:8000.")]
ApiKey = Annotated[str | None, typer.Option("--api-key", help="Key; else PROMPTATLAS_API_KEY.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelArgument = Annotated[str, typer.Argument(help="A model, as `promptatlas models list` names it.")]
PromptRefOption = Annotated[
    str | None, typer.Option("--prompt-ref", "-p", help="Tuned prompt: name, name@3, name@alias or sha256:…")
]
MixOption = Annotated[list[str] | None, typer.Option("--mix", help="REF=WEIGHT, several times: a mix of prompts.")]


class Connector:
    """Opens clients for commands."""

    def __init__(self, connect: Connect | None) -> None:
        self._connect = connect or (lambda url, api_key: Client(url, api_key=api_key))

    def open(self, url: str | None, api_key: str | None) -> Client:
        return self._connect(url, api_key)


def client_for(context: typer.Context, url: str | None, api_key: str | None) -> Client:
    """The client that a command talks through."""
    return cast(Connector, context.obj).open(url, api_key)


def examples(*lines: str) -> str:
    """The end of a command's help. Blank lines keep the examples apart."""
    return "\n\n".join(("Examples:", *lines))
