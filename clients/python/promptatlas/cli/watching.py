"""Waiting for a run, in a terminal or a log, and printing its outcome."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import typer

from promptatlas import Run
from promptatlas.cli.output import print_json, print_table
from promptatlas.types import RunEvent


def watch(run: Run, *, as_json: bool) -> None:
    """Waits for a run and prints its outcome. Raises RunFailedError.

    In a terminal, a live board shows the progress; otherwise one line is printed for each change of status and log event.
    """
    try:
        if sys.stderr.isatty():
            run.wait(progress=True)
        else:
            status = ""
            for event in run.events():
                status = _log(event, previous=status)
            run.wait(progress=False)
    except KeyboardInterrupt:
        typer.echo(f"run {run.id} continues: promptatlas runs watch {run.id}", err=True)
        raise typer.Exit(130) from None
    print_outcome(run, as_json=as_json)


def start(run: Run, *, watched: bool, as_json: bool) -> None:
    """Prints a run that was queued, or waits for it."""
    if not watched:
        print_started(run, as_json=as_json)
        return
    typer.echo(f"run {run.id}", err=True)
    watch(run, as_json=as_json)


def print_outcome(run: Run, *, as_json: bool) -> None:
    """Prints the outcome of a run."""
    if as_json:
        print_json(run.info)
        return
    typer.echo(f"{run.id} {run.kind} {run.status}")
    if run.prompts:
        typer.echo("prompts: " + ", ".join(run.prompts))
    if run.outcome:
        print_table(("metric", "value", "interval"), list(_metrics(run.outcome)))


def _metrics(outcome: Mapping[str, float]) -> Iterator[tuple[str, str, str | None]]:
    """Name, value and confidence interval of each metric. ``NAME_low`` and ``NAME_high`` are the ends of an interval."""
    for name, value in outcome.items():
        metric, _, end = name.rpartition("_")
        if end in ("low", "high") and metric in outcome:
            continue
        low, high = outcome.get(f"{name}_low"), outcome.get(f"{name}_high")
        yield name, f"{value:.4g}", None if low is None or high is None else f"{low:.4g} – {high:.4g}"


def print_started(run: Run, *, as_json: bool) -> None:
    """Prints a run that was queued."""
    if as_json:
        print_json(run.info)
        return
    position = "" if run.info.queue_position is None else f", {run.info.queue_position} before it"
    typer.echo(f"{run.id} {run.kind} {run.status}{position}")


def _log(event: RunEvent, *, previous: str) -> str:
    """Prints log events and changes of the status; metrics are too many for a log. Returns the current status."""
    status = str(event.data.get("status", previous)) if event.type == "status" else previous
    if event.type == "log":
        typer.echo(f"{event.data.get('level', 'info')}: {event.data.get('text', '')}", err=True)
    elif status != previous:
        typer.echo(f"status: {status}", err=True)
    return status
