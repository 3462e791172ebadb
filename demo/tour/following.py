"""Waits for several runs at once, with a bar for each."""

import time
from collections.abc import Sequence
from typing import Final

from promptatlas import Run
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

POLL_S: Final = 0.5


def follow(runs: Sequence[Run], *, console: Console) -> None:
    """Return when all have succeeded.

    Raises:
        RunFailedError, RunCancelledError: one of them has not; the others go on.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        bars = [progress.add_task(run.name or run.id, total=None, start=False, told=run.status) for run in runs]
        waiting = dict(zip(bars, runs, strict=True))
        while waiting:
            for bar, run in list(waiting.items()):
                _show(run.refresh(), progress=progress, bar=bar)
                if run.ended:
                    del waiting[bar]
                    run.wait(progress=False)
                    console.print(
                        f"  {run.name or run.id}: {len(run.prompts)} prompts, {seconds_of(run):.0f} s", highlight=False
                    )
            time.sleep(POLL_S if waiting else 0)


def seconds_of(run: Run) -> float:
    """From its start to its end; 0 where it has not had both."""
    started, ended = run.info.started_at, run.info.ended_at
    return (ended - started).total_seconds() if started is not None and ended is not None else 0.0


def _show(run: Run, *, progress: Progress, bar: TaskID) -> None:
    if run.status != "queued":
        progress.start_task(bar)
    done = run.progress
    told = f"{done.step} of {done.total}" if run.status == "running" and done.total else run.status
    progress.update(bar, completed=done.step, total=done.total, told=told)
