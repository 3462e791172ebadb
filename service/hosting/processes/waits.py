"""Waits of the engine's idle threads, which depend on whether a run computes on the same machine.

Alone, threads of OpenMP should spin until the next operation: waking them takes longer than most operations of a decode step.
While a run computes, spinning threads delay it, and are then displaced by it. libgomp reads the number of spins only once,
but it spins shortly whenever its threads outnumber the cores. ``ShortWaits`` therefore keeps a second team of threads, which
sleeps, as long as runs compute.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

BEAT_S: Final = 0.5
RECENT_S: Final = 2.0


class RunBeats:
    """A file that every run on this machine touches while it computes."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or Path(tempfile.gettempdir())) / f"promptatlas-runs-{os.getuid()}"

    def touch(self) -> None:
        """Tell that a run computes. Without a place to tell it, engines wait as if none did."""
        with contextlib.suppress(OSError):
            self._path.touch()

    def are_recent(self) -> bool:
        """Whether a run has told it within ``RECENT_S``."""
        try:
            return abs(time.time() - self._path.stat().st_mtime) < RECENT_S
        except OSError:
            return False


@contextlib.contextmanager
def beating(beats: RunBeats, *, beat_s: float = BEAT_S) -> Iterator[None]:
    """Touch the file every ``beat_s`` during the block."""
    ended = threading.Event()

    def beat() -> None:
        while True:
            beats.touch()
            if ended.wait(beat_s):
                return

    thread = threading.Thread(target=beat, name="run beats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class ShortWaits:
    """Shortens the waits of this process while runs compute: ``update`` starts or ends the second team.

    Args:
        start_team: runs one operation on all threads of a new team; called in a thread of its own.
    """

    def __init__(self, beats: RunBeats, *, start_team: Callable[[], object]) -> None:
        self._beats = beats
        self._start_team = start_team
        self._end: threading.Event | None = None

    @property
    def are_short(self) -> bool:
        return self._end is not None

    def update(self) -> None:
        """Follow the runs."""
        are_running = self._beats.are_recent()
        if are_running and self._end is None:
            self._end = threading.Event()
            threading.Thread(target=self._hold, args=(self._end,), name="short waits", daemon=True).start()
        elif not are_running and self._end is not None:
            self._end.set()  # the thread ends, and its team with it
            self._end = None

    def _hold(self, end: threading.Event) -> None:
        self._start_team()
        end.wait()


def follow_runs(waits: ShortWaits, *, every_s: float = BEAT_S) -> None:
    """Call ``update`` from now on, in a thread that ends with the process."""

    def follow() -> None:
        while True:
            waits.update()
            time.sleep(every_s)

    threading.Thread(target=follow, name="waits", daemon=True).start()
