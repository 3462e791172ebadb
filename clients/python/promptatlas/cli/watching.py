"""Waiting for a run at a terminal or in a log, and what it came to."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import typer

from promptatlas import Run
from promptatlas.cli.output import print_json, print_table
from promptatlas.types import RunEvent


def watch(run: Run, *, as_json: bool) -> None:
    """Waits for a run and shows what it came to. Raises RunFailedError.

    A terminal gets a live board; a log gets a line for each thing that the run says.
    """
    try:
        if sys.stderr.isatty():
            run.wait(progress=True)
        else:
            status = ""
            for event in run.events():
                status = _say(event, before=status)
            run.wait(progress=False)
    except KeyboardInterrupt:
        typer.echo(f"run {run.id} goes on: promptatlas runs watch {run.id}", err=True)
        raise typer.Exit(130) from None
    print_outcome(run, as_json=as_json)


def print_outcome(run: Run, *, as_json: bool) -> None:
    """Prints what a run came to."""
    if as_json:
        print_json(run.info)
        return
    typer.echo(f"{run.id} {run.kind} {run.status}")
    if run.prompts:
        typer.echo("prompts: " + ", ".join(run.prompts))
    if run.outcome:
        print_table(("metric", "value", "interval"), list(_measures(run.outcome)))


def _measures(outcome: Mapping[str, float]) -> Iterator[tuple[str, str, str | None]]:
    """Each measure in one line with its interval, whose ends stand under names of their own."""
    for name, value in outcome.items():
        measure, _, end = name.rpartition("_")
        if end in ("low", "high") and measure in outcome:
            continue
        low, high = outcome.get(f"{name}_low"), outcome.get(f"{name}_high")
        yield name, f"{value:.4g}", None if low is None or high is None else f"{low:.4g} – {high:.4g}"


def print_started(run: Run, *, as_json: bool) -> None:
    """Prints a run that was put into the queue."""
    if as_json:
        print_json(run.info)
        return
    waits = "" if run.info.queue_position is None else f", {run.info.queue_position} before it"
    typer.echo(f"{run.id} {run.kind} {run.status}{waits}")


def _say(event: RunEvent, *, before: str) -> str:
    """Prints what belongs in a log, and gives the status now: steps are too many for a log, and change none."""
    status = str(event.data.get("status", before)) if event.type == "status" else before
    if event.type == "log":
        typer.echo(f"{event.data.get('level', 'info')}: {event.data.get('text', '')}", err=True)
    elif status != before:
        typer.echo(f"status: {status}", err=True)
    return status
