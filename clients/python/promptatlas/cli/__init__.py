"""``promptatlas`` on the command line."""

from promptatlas.cli.app import create_app, main

__all__ = ["create_app", "main"]
