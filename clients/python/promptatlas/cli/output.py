"""Output of commands: tables or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pydantic
import typer
from rich.console import Console
from rich.table import Table


def print_json(value: Any) -> None:
    """Prints a pydantic model, a list of them, or plain values."""
    if isinstance(value, pydantic.BaseModel):
        value = value.model_dump(mode="json")
    elif isinstance(value, list):
        value = [item.model_dump(mode="json") if isinstance(item, pydantic.BaseModel) else item for item in value]
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table; None is an empty cell."""
    table = Table(*columns, header_style="bold", box=None, pad_edge=False)
    for row in rows:
        # Cells are plain text: names may look like markup.
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console(markup=False, highlight=False, width=None if Console().is_terminal else 200).print(table)


def confirm_deletion(name: str, *, yes: bool) -> None:
    """Asks for confirmation unless ``yes``. Raises typer.Abort if it is denied."""
    if not yes:
        typer.confirm(f"Delete {name} for good?", abort=True, err=True)


def print_deleted(name: str, *, as_json: bool) -> None:
    """Prints the name of a deleted object."""
    if as_json:
        print_json({"deleted": name})
    else:
        typer.echo(f"deleted {name}")


def joined(values: Iterable[Any]) -> str:
    """Values separated by commas."""
    return ", ".join(map(str, values))


def print_fields(model: pydantic.BaseModel) -> None:
    """Prints a model's fields, one a line."""
    fields = model.model_dump(mode="json", exclude_none=True)
    print_table(("field", "value"), [(name, _cell(value)) for name, value in fields.items()])


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return joined(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
