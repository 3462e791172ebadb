"""``python -m service``: serve until SIGTERM or Ctrl-C. ``python -m service admin``: administer the store.

Settings are environment variables, see ``docs/operations.md``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence


def main(environ: Mapping[str, str], *, arguments: Sequence[str] = ()) -> int:
    """Run the service, or a command of ``admin``; returns the exit status: 2 if a setting is invalid, with one line on stderr."""
    if arguments:
        return _administer(arguments, environ)
    # Imported here, because the engine process imports this module again and needs none of it. Large modules are imported
    # last, so that an invalid setting is reported at once.
    from service.listening import bind
    from service.settings import Settings, SettingsError

    try:
        settings = Settings.from_environ(environ)
        settings.require_models()
        sock = bind(settings.host, settings.port)
    except SettingsError as error:
        print(f"promptatlas: {error}", file=sys.stderr)
        return 2
    from service.app import run_service

    with sock:
        return run_service(settings, sock=sock)


def _administer(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    if arguments[0] != "admin":
        print(f"promptatlas: expected no arguments or admin, got {' '.join(arguments)}", file=sys.stderr)
        return 2
    from service.administration.commands import main as administer

    return administer(arguments[1:], environ)


if __name__ == "__main__":
    sys.exit(main(os.environ, arguments=sys.argv[1:]))
