"""``python -m service``: serve until SIGTERM or Ctrl-C, or run a command.

``key create`` creates an API key, ``admin`` administers the store. See ``docs/operations.md`` for settings.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence


def command(parser: argparse.ArgumentParser, *, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command of the server; without one, the service. parser: of the server, whose commands are added here."""
    from service.administration.commands import add_admin_command
    from service.key_command import add_key_command

    commands = parser.add_subparsers(title="commands", metavar="[command]")
    add_key_command(commands)
    add_admin_command(commands)
    parsed = parser.parse_args(arguments)
    perform: Callable[[argparse.Namespace, Mapping[str, str]], int] | None = getattr(parsed, "perform", None)
    return main(environ) if perform is None else perform(parsed, environ)


def main(environ: Mapping[str, str]) -> int:
    """Run the service; returns its exit status: 2 if a setting is invalid, with one line on stderr."""
    # Imported here, because the engine process imports this module again and needs none of it. Large modules are imported
    # last, so that an invalid setting is reported at once.
    from service.hosting.processes.threads import BLAS_THREADS
    from service.listening import bind
    from service.logs import configure_logs
    from service.settings import Settings, SettingsError, warn_of_unknown_variables
    from service.tracing.opening import require_tracing

    try:
        settings = Settings.from_environ(environ)
        settings.require_models()
        settings.require_keys_file()
        require_tracing(environ)
        sock = bind(settings.host, settings.port)
    except SettingsError as error:
        print(f"promptatlas: {error}", file=sys.stderr)
        return 2
    configure_logs(settings.log)
    warn_of_unknown_variables(environ, known=Settings.model_fields)
    given = dict(environ)
    # Set before numpy is imported. The API process computes little, and idle threads of BLAS occupy cores for a while.
    os.environ.setdefault(BLAS_THREADS, "1")
    from service.launch import run_service

    with sock:
        return run_service(settings, sock=sock, environ=given)


if __name__ == "__main__":
    sys.exit(command(argparse.ArgumentParser(prog="python -m service"), arguments=sys.argv[1:], environ=os.environ))
