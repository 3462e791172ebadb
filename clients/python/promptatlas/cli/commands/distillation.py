"""``promptatlas distill``."""

from __future__ import annotations

from typing import Annotated

import typer

from promptatlas.cli.connection import client_for
from promptatlas.cli.options import ApiKey, AsJson, ChangesOption, RunNameOption, Url, WatchOption, examples
from promptatlas.cli.spec_files import read_spec, with_changes
from promptatlas.cli.watching import start


def distill(
    context: typer.Context,
    spec: Annotated[str, typer.Argument(help="YAML or JSON file with the spec; - is standard input.")],
    changes: ChangesOption = None,
    name: RunNameOption = None,
    watched: WatchOption = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Tune prompts to reproduce a teacher's texts, next-token distributions or states."""
    changed = with_changes(read_spec(spec), changes or [])
    with client_for(context, url, api_key) as client:
        run = client.runs.create("distill", changed, name=name)
        start(run, watched=watched, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    lines = (
        "promptatlas distill students.yaml --watch",
        'promptatlas distill students.json --set \'teacher={"dataset": "sums"}\' --set target.part=answer',
        "promptatlas distill students.yaml --set 'seeds=[0,1,2,3]' --set eval.sampling.n=8",
    )
    app.command("distill", epilog=examples(*lines))(distill)
