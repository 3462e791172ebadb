"""``python -m service``: serve until SIGTERM or Ctrl-C. Settings are environment variables, see ``docs/operations.md``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def main(environ: Mapping[str, str]) -> int:
    """Run the service; returns its exit status: 2 if a setting is invalid, with one line on stderr."""
    # Imported here, because the engine process imports this module again and needs none of it. Large modules are imported
    # last, so that an invalid setting is reported at once.
    from service.listening import bind
    from service.settings import Settings, SettingsError
    from service.tracing.opening import require_tracing

    try:
        settings = Settings.from_environ(environ)
        settings.require_models()
        require_tracing(environ)
        sock = bind(settings.host, settings.port)
    except SettingsError as error:
        print(f"promptatlas: {error}", file=sys.stderr)
        return 2
    from service.app import run_service

    with sock:
        return run_service(settings, sock=sock)


if __name__ == "__main__":
    sys.exit(main(os.environ))
