"""``promptatlas models``."""

from __future__ import annotations

import typer

from promptatlas.cli.connection import client_for
from promptatlas.cli.options import ApiKey, AsJson, ModelArgument, Url, examples
from promptatlas.cli.output import print_fields, print_json, print_table


def list_models(context: typer.Context, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """List base models, and the prompts served with them."""
    with client_for(context, url, api_key) as client:
        rows = list(client.models.list())
    if as_json:
        print_json(rows)
    else:
        print_table(("id", "root", "parent"), [(row.id, row.root, row.parent) for row in rows])


def show_model(
    context: typer.Context, model: ModelArgument, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Show a model's sizes, revision and sites."""
    with client_for(context, url, api_key) as client:
        card = client.models.get(model)
    (print_json if as_json else print_fields)(card)


def commands() -> typer.Typer:
    """The group ``models``."""
    group = typer.Typer(no_args_is_help=True, help="Models that the server hosts.")
    group.command("list", epilog=examples("promptatlas models list", "promptatlas models list --json"))(list_models)
    group.command("show", epilog=examples("promptatlas models show demo"))(show_model)
    return group
