"""Console commands of the distribution ``promptatlas-server``."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys


def serve() -> int:
    """``promptatlas-server``: the service, until SIGTERM or Ctrl-C, or ``admin``. Returns the exit status."""
    if sys.argv[1:2] == ["admin"]:
        from service.administration.commands import main as administer

        return administer(sys.argv[2:], os.environ, prog="promptatlas-server admin")
    _parser(
        "promptatlas-server",
        description="Run the Prompt Atlas service until SIGTERM or Ctrl-C. For its store: promptatlas-server admin --help.",
    ).parse_args()
    # Imported here, because the engine process imports this module again and needs neither.
    from service.__main__ import main

    return main(os.environ)


def work() -> int:
    """``promptatlas-worker``: workers, until SIGTERM or Ctrl-C. Returns the exit status."""
    parser = _parser("promptatlas-worker", description="Execute runs until SIGTERM or Ctrl-C.")
    parser.add_argument(
        "--check", action="store_true", help="exit with 0 if a worker of this host is alive, else with 1"
    )
    is_check = parser.parse_args().check
    from workers.__main__ import main

    return main(["--check"] if is_check else [], os.environ)


def _parser(prog: str, *, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description=description, epilog="Settings are environment variables named PROMPTATLAS_*."
    )
    parser.add_argument("--version", action="version", version=importlib.metadata.version("promptatlas-server"))
    return parser
