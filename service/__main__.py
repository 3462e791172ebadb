"""``python -m service``: serve until SIGTERM or Ctrl-C. Settings are environment variables, see ``docs/operations.md``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def main(environ: Mapping[str, str]) -> int:
    """Run the service; returns its exit status: 2 if a setting is invalid, with one line on stderr."""
    # Imported here, because the engine process imports this module again and needs none of it. Large modules are imported
    # last, so that an invalid setting is reported at once.
    from service.hosting.processes.threads import BLAS_THREADS
    from service.listening import bind
    from service.settings import Settings, SettingsError

    try:
        settings = Settings.from_environ(environ)
        settings.require_models()
        sock = bind(settings.host, settings.port)
    except SettingsError as error:
        print(f"promptatlas: {error}", file=sys.stderr)
        return 2
    given = dict(environ)
    # Set before numpy is imported. The API process computes little, and idle threads of BLAS occupy cores for a while.
    os.environ.setdefault(BLAS_THREADS, "1")
    from service.app import run_service

    with sock:
        return run_service(settings, sock=sock, environ=given)


if __name__ == "__main__":
    sys.exit(main(os.environ))
