"""Console commands of the distribution ``promptatlas-server``."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys


def serve() -> int:
    """``promptatlas-server``: the service, until SIGTERM or Ctrl-C, or one of its commands. Returns the exit status."""
    # Imported here, because the engine process imports this module again and needs neither.
    from service.__main__ import command

    parser = _parser("promptatlas-server", description="Run the Prompt Atlas service until SIGTERM or Ctrl-C.")
    return command(parser, arguments=sys.argv[1:], environ=os.environ)


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
        prog=prog,
        description=description,
        epilog="Settings are variables PROMPTATLAS_*, or in the TOML file of PROMPTATLAS_CONFIG.",
    )
    parser.add_argument("--version", action="version", version=importlib.metadata.version("promptatlas-server"))
    return parser
