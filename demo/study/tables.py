"""Tables of a report: Markdown tables with formatted numbers, and CSV files."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptatlas.types import Report


def write_tables(report: Report, *, folder: Path) -> list[Path]:
    """``prompts.csv``, ``separation.csv``, ``trajectories.csv`` and ``shape.csv``, a column for each number."""
    tables: dict[str, list[Mapping[str, Any]]] = {
        "prompts": [{"prompt": ref, **row} for ref, row in report.collapse.items()],
        "separation": [row.model_dump() for row in report.separation],
        "trajectories": list(report.trajectories),
        "shape": list(report.shape),
    }
    return [_write_csv(folder / f"{name}.csv", rows) for name, rows in tables.items()]


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table followed by an empty line."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def interval(found: Mapping[str, Any] | None) -> str:
    """``0.9 (0.8 to 1)``, or one number for a zero-width interval; ``never`` is the number of prompts that did not reach it."""
    if found is None:
        return "–"
    value, low, high = (shown(found.get(name)) for name in ("value", "low", "high"))
    never = f", {found['n_never']:.0f} never" if found.get("n_never") else ""
    return (value if low == high else f"{value} ({low} to {high})") + never


def shown(value: Any) -> str:
    """A number with three digits, or a dash."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(flat)
    return path


def _flat(row: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= _flat(value, prefix=f"{prefix}{name}.")
        else:
            found[prefix + name] = json.dumps(value) if isinstance(value, (list, tuple)) else value
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
