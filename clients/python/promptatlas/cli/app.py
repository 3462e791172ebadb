"""The command line: all commands, and errors as one line with exit code 1."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from promptatlas.cli.commands import (
    captures,
    completions,
    datasets,
    generation,
    harvest,
    maps,
    models,
    priors,
    prompts,
    reports,
    runs,
    system,
    tuning,
)
from promptatlas.cli.connection import Connect, Connector
from promptatlas.errors import PromptAtlasError


class _Commands(TyperGroup):
    """Prints errors as one line, without a traceback."""

    def invoke(self, ctx: Any) -> Any:  # the class of the context differs between versions of typer
        try:
            return super().invoke(ctx)
        except (PromptAtlasError, OSError, ValueError, ImportError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(importlib.metadata.version("promptatlas"))
        raise typer.Exit


def create_app(connect: Connect | None = None) -> typer.Typer:
    """The command line application.

    Args:
        connect: opens a client; replaces ``promptatlas.Client``.
    """
    app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False)
    connector = Connector(connect)

    @app.callback()
    def root(
        context: typer.Context,
        _version_wanted: Annotated[
            bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        """Tune prompts of a frozen model, complete texts with them, and inspect activations."""
        context.obj = connector

    groups = {"models": models, "prompts": prompts, "datasets": datasets, "priors": priors, "runs": runs}
    groups |= {"map": maps, "report": reports}
    for name, group in groups.items():
        app.add_typer(group.commands(), name=name)
    for register in (
        completions.register,
        captures.register,
        generation.register,
        harvest.register,
        tuning.register,
        system.register,
    ):
        register(app)
    return app


def main() -> None:
    """Entry point."""
    create_app()()
