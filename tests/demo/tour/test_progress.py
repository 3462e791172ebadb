"""Waiting for several runs, and the error if one fails."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from promptatlas import RunFailedError
from promptatlas.types import Progress
from rich.console import Console

from demo.tour import progress
from demo.tour.progress import follow


class FakeRun:
    """Advances by one status at each refresh."""

    def __init__(self, name: str, *statuses: str) -> None:
        self.id = self.name = name
        self.status = "queued"
        self.prompts = ["p@1", "q@1"]
        self.progress = Progress(step=3, total=10)
        started = datetime(2026, 1, 1, tzinfo=timezone.utc)
        self.info = SimpleNamespace(started_at=started, ended_at=started + timedelta(seconds=9))
        self._left = list(statuses)

    @property
    def ended(self) -> bool:
        return self.status in ("succeeded", "failed")

    def refresh(self) -> FakeRun:
        self.status = self._left.pop(0)
        return self

    def wait(self, *, progress: bool) -> None:
        if self.status == "failed":
            raise RunFailedError(self.id, reason="out of luck", attempts=1)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "POLL_S", 0)


def printed(*runs: Any, terminal: bool = False) -> str:
    file = io.StringIO()
    follow(runs, console=Console(file=file, width=100, force_terminal=terminal))
    return file.getvalue()


def test_it_waits_for_the_last() -> None:
    lines = printed(FakeRun("slow", "queued", "running", "succeeded"), FakeRun("quick", "succeeded"))
    assert lines == "  quick: 2 prompts, 9 s\n  slow: 2 prompts, 9 s\n"


def test_a_terminal_has_bars() -> None:
    drawn = printed(FakeRun("one", "running", "running", "succeeded"), terminal=True)
    assert "━" in drawn
    assert "succeeded" in drawn


def test_a_failed_run_is_an_error() -> None:
    with pytest.raises(RunFailedError, match="out of luck"):
        printed(FakeRun("good", "running", "running"), FakeRun("bad", "running", "failed"))
