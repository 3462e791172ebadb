"""Programs as members of the family: started like its own processes, and gone when it is."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from service.hosting.processes.process_setup import die_with_parent


class Command:
    """A started program, as a :class:`service.hosting.processes.supervisor.Process`.

    It has a session of its own, so that Ctrl-C in a terminal reaches it through the main process only, and writes what it
    prints to our standard error, where logs go.

    Args:
        arguments: the program and what it is told.
        environ: the whole of its environment; ours by default.
    """

    def __init__(self, arguments: Sequence[str], *, environ: Mapping[str, str] | None = None) -> None:
        # The end of a pipe that only the program holds tells of its end where process descriptors are not known.
        reader, writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                list(arguments),
                env=None if environ is None else dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                pass_fds=(writer,),
                start_new_session=True,
                # The main process has one thread and holds no locks, so this is safe here.
                preexec_fn=functools.partial(_prepare, os.getpid()),
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self._sentinel = _descriptor_of(self._process.pid, otherwise=reader)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def sentinel(self) -> int:
        """A file descriptor that becomes readable when the program ends."""
        return self._sentinel

    @property
    def exitcode(self) -> int | None:
        """How it ended: a status, or minus the number of the signal that killed it; None while it runs."""
        return self._process.poll()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def join(self) -> None:
        """Wait for its end."""
        self._process.wait()

    def terminate(self) -> None:
        """Ask it to stop."""
        self._process.terminate()

    def kill(self) -> None:
        """Stop it."""
        self._process.kill()

    def close(self) -> None:
        """Let go of what belongs to it, after its end."""
        with contextlib.suppress(OSError):
            os.close(self._sentinel)


def _prepare(parent_pid: int) -> None:
    # What the main process ignores or blocks is not for the program.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent(parent_pid)


def _descriptor_of(pid: int, *, otherwise: int) -> int:
    if not hasattr(os, "pidfd_open"):
        return otherwise
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return otherwise
    os.close(otherwise)
    return descriptor
