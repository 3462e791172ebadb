"""``promptatlas datasets``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptatlas.cli.connection import client_for
from promptatlas.cli.options import ApiKey, AsJson, Url, Yes, examples
from promptatlas.cli.output import confirm_deletion, print_deleted, print_json, print_table
from promptatlas.cli.parsing import given
from promptatlas.types import DatasetFormat, DatasetItem, DatasetManifest, Split

NameArgument = Annotated[str, typer.Argument(help="Name of the dataset.")]


def list_datasets(context: typer.Context, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None) -> None:
    """List datasets, including built-in ones."""
    with client_for(context, url, api_key) as client:
        rows = list(client.datasets.list())
    if as_json:
        print_json(rows)
        return
    cells = [
        (row.name, row.format, row.n_records, ", ".join(f"{split} {n}" for split, n in row.splits.items()))
        for row in rows
    ]
    print_table(("name", "format", "n_records", "splits"), cells)


def upload_dataset(
    context: typer.Context,
    name: NameArgument,
    file: Annotated[Path, typer.Argument(help="File to upload.")],
    form: Annotated[DatasetFormat, typer.Option("--format", "-f", help="Format of the file.")] = "jsonl",
    input_template: Annotated[
        str | None, typer.Option("--input", help="Template of the input, as in '{context} {question}'.")
    ] = None,
    target_template: Annotated[
        str | None, typer.Option("--target", help="Template of the target, as in '{answer}'.")
    ] = None,
    cloze: Annotated[bool, typer.Option("--cloze", help="Split plain text into items with one word left out.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Upload a dataset. If a line is not of the format, the error names it, and nothing is stored."""
    template = given(input=input_template, target=target_template) or None
    with client_for(context, url, api_key) as client:
        manifest = client.datasets.upload(name, path=file, format=form, template=template, cloze=cloze)
    _print_manifest(manifest, as_json=as_json)


def load_dataset(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="hub:owner/name, or hub:owner/name:config.")],
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Load a dataset of the Hugging Face Hub into the server's store."""
    with client_for(context, url, api_key) as client:
        _print_manifest(client.datasets.load(name), as_json=as_json)


def peek(
    context: typer.Context,
    name: NameArgument,
    split: Annotated[Split | None, typer.Option("--split", "-s", help="Only this split.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Number of items.")] = 5,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Show the first items of a dataset, as the model receives them."""
    with client_for(context, url, api_key) as client:
        found = client.datasets.peek(name, split=split, limit=limit)
    if as_json:
        print_json(found)
        return
    for number, item in enumerate(found.data):
        typer.echo(f"── {number if item.index is None else item.index} {item.split or ''}".rstrip())
        typer.echo(_shown(item))


def _print_manifest(manifest: DatasetManifest, *, as_json: bool) -> None:
    if as_json:
        print_json(manifest)
        return
    splits = ", ".join(f"{split} {n}" for split, n in manifest.splits.items())
    typer.echo(f"{manifest.name}: {manifest.n_records} records ({splits}), {manifest.sha256}")


def _shown(item: DatasetItem) -> str:
    if item.text is not None:
        return item.text
    answers = item.answers or []
    others = [answer for answer in answers if answer.strip() != (item.target or "").strip()]
    text = f"{item.input}⟶{item.target}"
    return f"{text}\n(or: {', '.join(map(repr, others))})" if others else text


def delete_dataset(
    context: typer.Context,
    name: NameArgument,
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Delete a dataset."""
    confirm_deletion(name, yes=yes)
    with client_for(context, url, api_key) as client:
        client.datasets.delete(name)
    print_deleted(name, as_json=as_json)


def commands() -> typer.Typer:
    """The group ``datasets``."""
    group = typer.Typer(no_args_is_help=True, help="Datasets for tuning and evaluation.")
    uploads = (
        "promptatlas datasets upload rivers rivers.jsonl",
        "promptatlas datasets upload squad train-v2.0.json --format squad --input '{context}\\n{question}\\n'",
        "promptatlas datasets upload prose prose.txt --format text --cloze",
    )
    group.command("list", epilog=examples("promptatlas datasets list"))(list_datasets)
    group.command("upload", epilog=examples(*uploads))(upload_dataset)
    group.command("load", epilog=examples("promptatlas datasets load hub:openai/gsm8k:main"))(load_dataset)
    group.command("peek", epilog=examples("promptatlas datasets peek demo-qa --split test -n 3"))(peek)
    group.command("delete", epilog=examples("promptatlas datasets delete rivers --yes"))(delete_dataset)
    return group
