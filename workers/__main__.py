"""``python -m workers``: execute runs until SIGTERM or Ctrl-C. See ``docs/operations.md`` for settings.

A service starts its workers with ``--settings-on-stdin``, so that they have its settings, as JSON. The exit status of
``python -m workers --check`` shows whether a worker of this host is alive.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence

from service.errors import Unavailable
from service.logs import configure_logs
from service.queueing.queue import RunQueue
from service.settings import Settings, SettingsError, warn_of_unknown_variables
from service.tracing.opening import require_tracing
from workers.jobs import HELPERS, KINDS
from workers.running.pool.supervisor import run_workers
from workers.running.setup import WorkSetup

_ON_STDIN = ["--settings-on-stdin"]


def main(arguments: Sequence[str], environ: Mapping[str, str], *, kinds: Mapping[str, str] = KINDS) -> int:
    """Run workers, or check for them; returns the exit status: 2 for an invalid setting, with one line on stderr."""
    try:
        settings = _settings(arguments, environ)
        _require(settings)
        require_tracing(environ)
    except SettingsError as error:
        print(f"promptatlas: {error}", file=sys.stderr)
        return 2
    setup = WorkSetup(settings=settings, kinds=kinds, helpers=HELPERS)
    if list(arguments) == ["--check"]:
        return _check(setup)
    if arguments and list(arguments) != _ON_STDIN:
        print(f"promptatlas: expected no arguments or --check, got {' '.join(arguments)}", file=sys.stderr)
        return 2
    if not arguments:
        configure_logs(settings.log)
        warn_of_unknown_variables(environ, known=Settings.model_fields)
    # A service that starts workers has its engines on this host.
    return run_workers(setup, n_engines=len(settings.engines) * settings.tensor_parallel if arguments else 0)


def _settings(arguments: Sequence[str], environ: Mapping[str, str]) -> Settings:
    if list(arguments) == _ON_STDIN:
        return Settings.model_validate_json(sys.stdin.read())
    return Settings.from_environ(environ)


def _require(settings: Settings) -> None:
    if settings.redis_url is None:
        raise SettingsError("PROMPTATLAS_REDIS_URL must be set to the Redis in which runs are queued")
    if settings.workers < 1:
        raise SettingsError("PROMPTATLAS_WORKERS must be at least 1 to start workers, got 0")


def _check(setup: WorkSetup) -> int:
    try:
        workers = RunQueue.at(setup.redis_url).workers()
    except Unavailable as error:
        print(f"promptatlas: {error}", file=sys.stderr)
        return 1
    here = [worker.pid for worker in workers if worker.hostname == socket.gethostname()]
    return 0 if any(pid is not None and _exists(pid) for pid in here) else 1


def _exists(pid: int) -> bool:
    """Whether a process exists. Redis keeps the heartbeat of a killed worker for minutes."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
