"""Live display of a run in a terminal: a progress bar, and the loss of each member."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from promptatlas.types import Run, RunEvent

# More lines than this would push the bar off the screen.
MAX_MEMBERS = 16
MAX_NUMBERS = 4


class EventDisplay(Protocol):
    """Shows an event of a run."""

    def __call__(self, event: RunEvent) -> None: ...


class Board:
    """The latest state of a run, as a rich renderable."""

    def __init__(self, run: Run) -> None:
        self._title = run.name or f"{run.kind} {run.id}"
        self._status: str = run.status
        self._queue_position = run.queue_position
        self._members: dict[str, dict[str, float]] = {}
        self._steps: dict[str, int] = {}
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
        )
        self._bar = Progress(*columns)
        self._task = self._bar.add_task(
            self._description(), total=run.progress.total, completed=run.progress.step, left=""
        )

    def update(self, event: RunEvent) -> Text | None:
        """Updates the board. Returns the text of a log event, which is printed above it."""
        if event.type == "log":
            warns = event.data.get("level") == "warning"
            return Text(str(event.data.get("text", "")), style="yellow" if warns else "")
        if event.type == "metric":
            self._record(event.data)
        elif "status" in event.data:
            self._status = str(event.data["status"])
        progress = event.data.get("progress")
        self._advance(progress if isinstance(progress, Mapping) else {})
        return None

    def __rich__(self) -> Group:
        """The progress bar, and a line for each member."""
        return Group(self._bar, self._table()) if self._members else Group(self._bar)

    def _advance(self, progress: Mapping[str, Any]) -> None:
        known = {"completed": progress.get("step"), "total": progress.get("total")}
        eta_s = progress.get("eta_s")
        left = f"{_duration(eta_s)} left" if isinstance(eta_s, (int, float)) else ""
        changes = {name: value for name, value in known.items() if value is not None}
        if progress:
            changes["left"] = left
        self._bar.update(self._task, description=self._description(), **changes)

    def _record(self, data: Mapping[str, Any]) -> None:
        member = str(data.get("member") or "run")
        numbers = {
            name: float(value)
            for name, value in data.items()
            if name not in ("step", "member") and isinstance(value, (int, float))
        }
        self._members.setdefault(member, {}).update(numbers)
        self._steps[member] = int(data.get("step", 0))

    def _description(self) -> str:
        queued = self._status == "queued" and self._queue_position is not None
        return f"{self._title}: {self._status}" + (f", {self._queue_position} before it" if queued else "")

    def _table(self) -> Table:
        names = list(dict.fromkeys(name for numbers in self._members.values() for name in numbers))
        # Losses come first; other metrics follow as far as there is room.
        names = sorted(names, key=lambda name: (name != "loss", "loss" not in name))[:MAX_NUMBERS]
        table = Table("member", "step", *names, header_style="bold", box=None, pad_edge=False)
        for member, numbers in list(self._members.items())[:MAX_MEMBERS]:
            cells = [f"{numbers[name]:.4g}" if name in numbers else "" for name in names]
            table.add_row(Text(member), str(self._steps[member]), *cells)
        hidden = len(self._members) - MAX_MEMBERS
        if hidden > 0:
            table.add_row(Text(f"… and {hidden} more"))
        return table


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def live_board(run: Run, *, shown: bool, console: Console | None = None) -> Iterator[EventDisplay]:
    """A board on standard error; the result takes the events. shown: False displays nothing."""
    if not shown:
        yield lambda _event: None
        return
    board = Board(run)
    console = console or Console(stderr=True)
    with Live(board, console=console, refresh_per_second=4, transient=False) as live:

        def show(event: RunEvent) -> None:
            line = board.update(event)
            if line is not None:
                live.console.print(line)

        yield show
