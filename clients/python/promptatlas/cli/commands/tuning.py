"""``promptatlas tune``."""

from __future__ import annotations

from typing import Annotated

import typer

from promptatlas.cli.connection import client_for
from promptatlas.cli.options import ApiKey, AsJson, ChangesOption, RunNameOption, Url, WatchOption, examples
from promptatlas.cli.spec_files import read_spec, with_changes
from promptatlas.cli.watching import start


def tune(
    context: typer.Context,
    spec: Annotated[str, typer.Argument(help="YAML or JSON file with the spec; - is standard input.")],
    changes: ChangesOption = None,
    name: RunNameOption = None,
    watched: WatchOption = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Tune prompts: the priors × seeds × learning rates of a spec, in parallel in one run."""
    changed = with_changes(read_spec(spec), changes or [])
    with client_for(context, url, api_key) as client:
        run = client.runs.create("tune", changed, name=name)
        start(run, watched=watched, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    lines = (
        "promptatlas tune sweep.yaml --watch",
        "promptatlas tune sweep.json --set optimizer.lr=0.003 --set priors.0.std=0.1 --name second",
        "promptatlas tune sweep.yaml --set 'seeds=[0,1,2,3]' --set dataset=demo-qa",
    )
    app.command("tune", epilog=examples(*lines))(tune)
