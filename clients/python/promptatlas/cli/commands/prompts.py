"""``promptatlas prompts``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptatlas.cli.connection import client_for
from promptatlas.cli.options import ApiKey, AsJson, Url, Yes, examples
from promptatlas.cli.output import confirm_deletion, print_deleted, print_fields, print_json, print_table
from promptatlas.types import ContentFormat, PeftType

Ref = Annotated[str, typer.Argument(help="name, name@3 or name@alias.")]
NameArgument = Annotated[str, typer.Argument(help="Name of the prompt.")]


def list_prompts(context: typer.Context, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """List prompts with their versions and aliases."""
    with client_for(context, url, api_key) as client:
        rows = list(client.prompts.list())
    if as_json:
        print_json(rows)
        return
    cells = []
    for row in rows:
        aliases = ", ".join(f"{alias}→{version}" for alias, version in row.aliases.items())
        cells.append((row.name, row.latest, ", ".join(map(str, row.versions)), row.kind, row.base, aliases))
    print_table(("name", "latest", "versions", "kind", "base", "aliases"), cells)


def show_prompt(
    context: typer.Context, ref: Ref, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Show a prompt's manifest."""
    with client_for(context, url, api_key) as client:
        manifest = client.prompts.get(ref)
    (print_json if as_json else print_fields)(manifest)


def upload_prompt(
    context: typer.Context,
    name: NameArgument,
    source: Annotated[Path, typer.Argument(help="Native safetensors file, PEFT adapter folder, or a zip of one.")],
    base: Annotated[
        str | None, typer.Option("--base", help="Model of the prompt, if the file does not name it.")
    ] = None,
    task: Annotated[int | None, typer.Option("--task", min=0, help="Task of a multitask adapter of PEFT.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Upload a prompt as a new version of a name."""
    with client_for(context, url, api_key) as client:
        if source.is_dir():
            manifest = client.prompts.upload(name, peft_dir=source, base=base, task=task)
        else:
            manifest = client.prompts.upload(name, path=source, base=base, task=task)
    if as_json:
        print_json(manifest)
    else:
        typer.echo(f"{manifest.name}@{manifest.version} {manifest.kind} for {manifest.base}, {manifest.sha256}")
    for warning in manifest.warnings:
        typer.echo(f"Warning: {warning}", err=True)


def download_prompt(
    context: typer.Context,
    ref: Ref,
    to: Annotated[Path, typer.Option("--to", "-o", help="File to write.")],
    form: Annotated[
        ContentFormat, typer.Option("--format", help="native, a PEFT zip, vectors, or keys and values.")
    ] = "native",
    peft_type: Annotated[
        PeftType | None, typer.Option("--peft-type", help="Type of the PEFT adapter; the default depends on the kind.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Download a prompt's file."""
    with client_for(context, url, api_key) as client:
        path = client.prompts.download(ref, to=to, format=form, peft_type=peft_type)
    if as_json:
        print_json({"path": str(path), "bytes": path.stat().st_size})
    else:
        typer.echo(f"{path}: {path.stat().st_size} bytes")


def delete_prompt(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(help="One version, as name@3.")],
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Delete one version of a prompt."""
    confirm_deletion(ref, yes=yes)
    with client_for(context, url, api_key) as client:
        client.prompts.delete(ref)
    print_deleted(ref, as_json=as_json)


def set_alias(
    context: typer.Context,
    name: NameArgument,
    alias: Annotated[str, typer.Argument(help="Alias, e.g. production.")],
    version: Annotated[int, typer.Argument(help="Version that the alias points to.")],
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Point an alias to a version."""
    with client_for(context, url, api_key) as client:
        result = client.prompts.set_alias(name, alias, version=version)
    if as_json:
        print_json(result)
    else:
        typer.echo(f"{result.name}@{result.alias} → {result.name}@{result.version}")


def commands() -> typer.Typer:
    """The group ``prompts``."""
    group = typer.Typer(no_args_is_help=True, help="Tuned prompts: named and versioned.")
    uploads = ("promptatlas prompts upload qa qa.safetensors", "promptatlas prompts upload qa adapter/ --base demo")
    downloads = (
        "promptatlas prompts download qa@2 --to qa.safetensors",
        "promptatlas prompts download qa --format peft --to qa.zip",
        "promptatlas prompts download qa --format kv --to qa-kv.safetensors",
    )
    group.command("list", epilog=examples("promptatlas prompts list"))(list_prompts)
    group.command("show", epilog=examples("promptatlas prompts show qa", "promptatlas prompts show qa@2"))(show_prompt)
    group.command("upload", epilog=examples(*uploads))(upload_prompt)
    group.command("download", epilog=examples(*downloads))(download_prompt)
    group.command("delete", epilog=examples("promptatlas prompts delete qa@1 --yes"))(delete_prompt)
    group.command("alias", epilog=examples("promptatlas prompts alias qa production 2"))(set_alias)
    return group
