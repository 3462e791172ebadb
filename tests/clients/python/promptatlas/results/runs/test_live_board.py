from __future__ import annotations

import io
from typing import Any

from promptatlas.results.runs.live_board import MAX_MEMBERS, Board, live_board
from promptatlas.types import Run, RunEvent
from rich.console import Console

from tests.clients.python.promptatlas.fake_runs import EVENTS, info


def event(kind: str, data: dict[str, Any]) -> RunEvent:
    return RunEvent.model_validate({"id": 1, "type": kind, "data": data})


def drawn(board: Board) -> str:
    text = io.StringIO()
    Console(file=text, width=120).print(board)
    return text.getvalue()


def test_a_queued_run() -> None:
    assert "sweep: queued, 2 before it" in drawn(Board(Run.model_validate(info())))
    assert "tune run-7k3: queued" in drawn(Board(Run.model_validate(info(name=None))))


def test_the_loss_of_each_member_is_live() -> None:
    board = Board(Run.model_validate(info()))
    said = [board.update(event(kind, data)) for kind, data in EVENTS[:5]]
    lines = drawn(board).splitlines()
    assert "sweep: running" in lines[0]
    assert "10/20" in lines[0]
    assert "1:05 left" in lines[0]
    assert [line.split() for line in lines[1:]] == [
        ["member", "step", "loss", "lr"],
        ["a", "10", "2.5", "0.001"],
        ["b", "10", "1.25", "0.01"],
    ]
    assert [str(line) for line in said if line] == ["b: NaN at step 12, rolled back"]
    board.update(event("metric", {"step": 20, "member": "b", "loss": 0.5}))
    assert drawn(board).splitlines()[3].split() == ["b", "20", "0.5", "0.01"]


def test_losses_come_first_and_only_numbers_are_shown() -> None:
    board = Board(Run.model_validate(info()))
    board.update(event("metric", {"step": 1, "a": 1, "b": 2, "c": 3, "d": 4, "loss": 5, "status": "running"}))
    lines = drawn(board).splitlines()
    assert lines[1].split() == ["member", "step", "loss", "a", "b", "c"]
    assert lines[2].split() == ["run", "1", "5", "1", "2", "3"]


def test_many_members_do_not_push_the_bar_off_the_screen() -> None:
    board = Board(Run.model_validate(info()))
    for number in range(MAX_MEMBERS + 3):
        board.update(event("metric", {"step": 1, "member": f"[red]m{number}", "loss": 1.0}))
    text = drawn(board)
    assert "[red]m15" in text
    assert "[red]m16" not in text
    assert "… and 3 more" in text


def test_shown_only_if_requested() -> None:
    run = Run.model_validate(info())
    text = io.StringIO()
    console = Console(file=text, width=120, force_terminal=True)
    for shown in (False, True):
        with live_board(run, shown=shown, console=console) as tell:
            for kind, data in EVENTS:
                tell(event(kind, data))
        assert ("rolled back" in text.getvalue()) is shown
    assert "sweep: succeeded" in text.getvalue()
