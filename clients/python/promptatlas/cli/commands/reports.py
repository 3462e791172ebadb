"""``promptatlas report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptatlas.cli import parsing
from promptatlas.cli.connection import client_for
from promptatlas.cli.options import (
    ApiKey,
    AsJson,
    ChangesOption,
    ModelOption,
    RunNameOption,
    SpecArgument,
    Url,
    WatchOption,
    examples,
)
from promptatlas.cli.output import print_json, print_table
from promptatlas.cli.spec_files import read_spec, with_changes
from promptatlas.cli.watching import start


def make(
    context: typer.Context,
    spec: SpecArgument = None,
    model: ModelOption = None,
    datasets: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", help="A task to compare; repeatable.")
    ] = None,
    prompts: Annotated[list[str] | None, typer.Option("--prompt", "-p", help="A tuned prompt; repeatable.")] = None,
    changes: ChangesOption = None,
    name: RunNameOption = None,
    watched: WatchOption = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Measure the findings on prompts and datasets."""
    given = parsing.given(model=model, datasets=datasets or None, prompts=prompts or None)
    merged = with_changes({**({} if spec is None else read_spec(spec)), **given}, changes or [])
    with client_for(context, url, api_key) as client:
        run = client.runs.create("report", merged, name=name)
        start(run, watched=watched, as_json=as_json)


def get(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(help="Id of the run of the report.")],
    to: Annotated[
        Path | None, typer.Option("--to", "-o", help="File to write: the page, or .json for all numbers.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Show each finding of a report with its verdict."""
    with client_for(context, url, api_key) as client:
        report = client.reports.get(run_id)
    if to is not None:
        report.save(to)
    if as_json:
        print_json(report.info)
        return
    typer.echo(f"{report.title} ({report.model})")
    rows = [(each.number, each.verdict, each.title, each.missing) for each in report.findings]
    print_table(("finding", "verdict", "title", "missing"), rows)
    if to is not None:
        typer.echo(f"{to}: {to.stat().st_size} bytes")


def commands() -> typer.Typer:
    """The group ``report``."""
    group = typer.Typer(no_args_is_help=True, help="Reports: findings about prompts and activations.")
    makes = (
        "promptatlas report make -m demo -d demo-qa -d demo-arithmetic -p qa@1 -p qa@2 --watch",
        "promptatlas report make report.yaml --set n=50",
    )
    group.command("make", epilog=examples(*makes))(make)
    group.command("get", epilog=examples("promptatlas report get run-1 -o report.html"))(get)
    return group
