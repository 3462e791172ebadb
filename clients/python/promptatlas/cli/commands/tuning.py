"""``promptatlas tune`` and ``promptatlas distill``: runs that a file describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import typer

from promptatlas import Client
from promptatlas.cli.connection import client_for
from promptatlas.cli.options import ApiKey, AsJson, ChangesOption, RunNameOption, RunsOption, Url, WatchOption, examples
from promptatlas.cli.spec_files import read_spec, with_changes
from promptatlas.cli.sweeps import divide_sweep
from promptatlas.cli.watching import start


def starting(kind: Literal["tune", "distill"]) -> Callable[..., None]:
    """A command that starts a run of this kind from a file."""

    def command(
        context: typer.Context,
        spec: Annotated[str, typer.Argument(help="YAML or JSON file with the spec; - is standard input.")],
        changes: ChangesOption = None,
        name: RunNameOption = None,
        runs: RunsOption = "1",
        watched: WatchOption = False,
        as_json: AsJson = False,
        url: Url = None,
        api_key: ApiKey = None,
    ) -> None:
        changed = with_changes(read_spec(spec), changes or [])
        with client_for(context, url, api_key) as client:
            specs = divide_sweep(changed, _number_of(runs, client))
            started = [
                client.runs.create(kind, part, name=name if name is None or len(specs) == 1 else f"{name}-{number}")
                for number, part in enumerate(specs, 1)
            ]
            for run in started:
                start(run, watched=watched, as_json=as_json)

    return command


def _number_of(runs: str, client: Client) -> int:
    """The value of ``--runs``. Raises typer.BadParameter, and ValueError if there are no workers."""
    if runs == "workers":
        workers = client.ready().workers
        if not workers.count:
            raise ValueError(f"--runs workers: the server has no workers ({workers.detail or workers.status})")
        return workers.count
    if not runs.isascii() or not runs.isdigit() or int(runs) < 1:
        raise typer.BadParameter(f"--runs: expected a number from 1, or workers, got {runs!r}")
    return int(runs)


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    tunings = (
        "promptatlas tune sweep.yaml --watch",
        "promptatlas tune sweep.json --set optimizer.lr=0.003 --set priors.0.std=0.1 --name second",
        "promptatlas tune sweep.yaml --set 'seeds=[0,1,2,3]' --set dataset=demo-qa",
        "promptatlas tune sweep.yaml --runs workers",
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
