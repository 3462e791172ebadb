"""Child programs that the supervisor runs like its own processes, and that end with it."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

from service.hosting.processes.process_setup import die_with_parent


class Command:
    """A started program; a :class:`service.hosting.processes.supervisor.Process`.

    It has a session of its own, so that Ctrl-C in a terminal reaches it only through the main process. Its standard output
    goes to our standard error, with the logs.

    Args:
        arguments: the program and its arguments.
        environ: its complete environment; that of this process by default.
        stdin: its standard input, empty by default.
    """

    def __init__(
        self, arguments: Sequence[str], *, environ: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> None:
        # Without process descriptors, the end of the program is the end of file of a pipe that only the program holds open.
        reader, writer = os.pipe()
        given = _file_of(stdin)
        try:
            self._process = subprocess.Popen(
                list(arguments),
                env=None if environ is None else dict(environ),
                stdin=given,
                stdout=sys.stderr.fileno(),
                pass_fds=(writer,),
                start_new_session=True,
                # Safe here, because the main process has one thread and holds no locks.
                preexec_fn=functools.partial(_prepare, os.getpid()),
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
            os.close(given)
        self._sentinel = _descriptor_of(self._process.pid, fallback=reader)

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
        """Exit status, or minus the number of the signal that killed it; None while it runs."""
        return self._process.poll()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def join(self) -> None:
        """Wait until it ends."""
        self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def close(self) -> None:
        """Close its file descriptor, after its end."""
        with contextlib.suppress(OSError):
            os.close(self._sentinel)


def _file_of(data: bytes) -> int:
    """A descriptor at the start of an unnamed file in memory: unlike a pipe, it never blocks the writer."""
    if not data:
        return os.open(os.devnull, os.O_RDONLY)
    with open(os.memfd_create("stdin"), "wb") if hasattr(os, "memfd_create") else tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return os.dup(file.fileno())


def _prepare(parent_pid: int) -> None:
    # The signal handling of the main process is not inherited.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent(parent_pid)


def _descriptor_of(pid: int, *, fallback: int) -> int:
    if not hasattr(os, "pidfd_open"):
        return fallback
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return fallback
    os.close(fallback)
    return descriptor
