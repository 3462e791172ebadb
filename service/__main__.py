"""``python -m service``: serve until SIGTERM or Ctrl-C. Settings are environment variables, see ``docs/operations.md``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping


def main(environ: Mapping[str, str]) -> int:
    """Run the service; returns its exit status: 2 when a setting is wrong, with one line on stderr."""
    # Here, because the engine process imports this module again and needs none of it.
    from service.app import check_models, run_service
    from service.settings import Settings, SettingsError

    try:
        settings = Settings.from_environ(environ)
        check_models(settings)
        return run_service(settings)
    except SettingsError as error:
        print(f"promptatlas: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(os.environ))
