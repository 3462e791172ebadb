"""``promptatlas health``."""

from __future__ import annotations

import typer

from promptatlas.cli.connection import client_for
from promptatlas.cli.options import ApiKey, AsJson, Url, examples
from promptatlas.cli.output import print_json, print_table


def health(context: typer.Context, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """Check whether the server is up and can run the model. Exit code 1 if not."""
    with client_for(context, url, api_key) as client:
        client.health()
        ready = client.ready()
    parts = {"engine": ready.engine, "store": ready.store, "redis": ready.redis}
    if as_json:
        print_json(ready)
    else:
        print_table(("part", "status", "detail"), [(name, part.status, part.detail) for name, part in parts.items()])
    if ready.status != "ready":
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("health", epilog=examples("promptatlas health", "promptatlas health --url http://127.0.0.1:9000"))(
        health
    )
