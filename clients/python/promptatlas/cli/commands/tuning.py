"""``promptatlas tune`` and ``promptatlas distill``: runs that a file describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import typer

from promptatlas.cli.connection import client_for
from promptatlas.cli.options import ApiKey, AsJson, ChangesOption, RunNameOption, Url, WatchOption, examples
from promptatlas.cli.spec_files import read_spec, with_changes
from promptatlas.cli.watching import start


def starting(kind: Literal["tune", "distill"]) -> Callable[..., None]:
    """A command that starts a run of this kind from a file."""

    def command(
        context: typer.Context,
        spec: Annotated[str, typer.Argument(help="YAML or JSON file with the spec; - is standard input.")],
        changes: ChangesOption = None,
        name: RunNameOption = None,
        watched: WatchOption = False,
        as_json: AsJson = False,
        url: Url = None,
        api_key: ApiKey = None,
    ) -> None:
        changed = with_changes(read_spec(spec), changes or [])
        with client_for(context, url, api_key) as client:
            run = client.runs.create(kind, changed, name=name)
            start(run, watched=watched, as_json=as_json)

    return command


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    tunings = (
        "promptatlas tune sweep.yaml --watch",
        "promptatlas tune sweep.json --set optimizer.lr=0.003 --set priors.0.std=0.1 --name second",
        "promptatlas tune sweep.yaml --set 'seeds=[0,1,2,3]' --set dataset=demo-qa",
    )
    distillations = (
        "promptatlas distill students.yaml --watch",
        'promptatlas distill students.json --set \'teacher={"dataset": "sums"}\' --set target.part=answer',
        "promptatlas distill students.yaml --set 'seeds=[0,1,2,3]' --set eval.sampling.n=8",
    )
    text = "Tune prompts: the priors × seeds × learning rates of a spec, in parallel in one run."
    app.command("tune", help=text, epilog=examples(*tunings))(starting("tune"))
    text = "Tune prompts to reproduce a teacher's texts, next-token distributions or states."
    app.command("distill", help=text, epilog=examples(*distillations))(starting("distill"))
