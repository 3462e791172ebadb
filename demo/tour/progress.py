"""Waiting for several runs, with a progress bar for each."""

import time
from collections.abc import Sequence
from typing import Final

from promptatlas import Run
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

POLL_S: Final = 0.5


def follow(runs: Sequence[Run], *, console: Console) -> None:
    """Return when all runs have succeeded.

    Raises:
        RunFailedError, RunCancelledError: a run has failed or was cancelled; the others continue.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        bars = [progress.add_task(run.name or run.id, total=None, start=False, state=run.status) for run in runs]
        waiting = dict(zip(bars, runs, strict=True))
        while waiting:
            for bar, run in list(waiting.items()):
                _show(run.refresh(), progress=progress, bar=bar)
                if run.ended:
                    del waiting[bar]
                    run.wait(progress=False)
                    prompts = f"{len(run.prompts)} prompts, " if run.prompts else ""
                    console.print(f"  {run.name or run.id}: {prompts}{seconds_of(run):.0f} s", highlight=False)
            time.sleep(POLL_S if waiting else 0)


def seconds_of(run: Run) -> float:
    """Duration of a run; 0 if it has not started or not ended."""
    started, ended = run.info.started_at, run.info.ended_at
    return (ended - started).total_seconds() if started is not None and ended is not None else 0.0


def _show(run: Run, *, progress: Progress, bar: TaskID) -> None:
    if run.status != "queued":
        progress.start_task(bar)
    done = run.progress
    state = f"{done.step} of {done.total}" if run.status == "running" and done.total else run.status
    progress.update(bar, completed=done.step, total=done.total, state=state)
