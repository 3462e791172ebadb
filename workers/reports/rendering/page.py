"""HTML page of a report: one self-contained file with inline styles and figures, no scripts, no network."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from workers.reports.rendering.labels import label, part_label

FIGURES_OF = {
    1: ("prompts",),
    2: ("curves",),
    3: (),
    4: ("trajectories",),
    5: ("tasks", "separation"),
    6: (),
    7: ("shapes",),
}
"""Number of a finding → names of its figures."""

COLLAPSE_COLUMNS = (
    "prior",
    "seed",
    "nearest_distance",
    "nearest_cosine",
    "share_within_radius",
    "mahalanobis",
    "norm_ratio",
    "effective_rank",
    "mean_pairwise_distance",
    "displacement",
)


def render(report: Mapping[str, Any], *, figures: Mapping[str, str]) -> str:
    """HTML page of the content of ``report.json``. figures: trusted SVG by name; all other text is escaped."""
    environment = Environment(
        loader=PackageLoader("workers.reports.rendering", "templates"),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "indented": indented,
        "tables": tables_of,
        "label": label,
        "part_label": part_label,
    }
    return environment.get_template("report.html.j2").render(
        report=report,
        figures={name: Markup(svg) for name, svg in figures.items()},
        figures_of=FIGURES_OF,
        columns=[name for name in COLLAPSE_COLUMNS if any(name in row for row in report["collapse"].values())],
    )


def number(value: Any) -> str:
    """A table cell: floats with four significant digits, a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(number, value)) or "none"
    return str(value)


def indented(value: Any) -> str:
    """Numbers of a finding as indented JSON, floats with six significant digits."""
    return json.dumps(_rounded(value), indent=2, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Part of a finding's numbers. rows: a label and one cell per column."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


def tables_of(numbers: Mapping[str, Any], *, path: Sequence[str] = ()) -> list[Table]:
    """Tables in a finding's numbers: intervals by label, joined into one table, and records by label."""
    inner = {name: value for name, value in numbers.items() if isinstance(value, Mapping) and value and name != "parts"}
    intervals = {name: value for name, value in inner.items() if _are_intervals(value.values())}
    found = []
    if intervals:
        keys = dict.fromkeys(key for column in intervals.values() for key in column)
        rows = [(key, [_interval(column.get(key)) for column in intervals.values()]) for key in keys]
        found.append(Table(caption=_caption(path), columns=list(intervals), rows=rows))
    for name, value in inner.items():
        if name in intervals:
            continue
        if all(map(_is_record, value.values())):
            columns = list(dict.fromkeys(key for record in value.values() for key in record))
            rows = [(row, [number(record.get(key)) for key in columns]) for row, record in value.items()]
            found.append(Table(caption=_caption([*path, name]), columns=columns, rows=rows))
        else:
            found += tables_of(value, path=[*path, name])
    return found


def _are_intervals(values: Collection[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, Mapping) and ("low" in value or "n_never" in value) for value in known)


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping) and not any(isinstance(inner, Mapping) for inner in value.values())


def _interval(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return number(None)
    never = f", {value['n_never']:.0f} never" if value.get("n_never") else ""
    if value.get("value") is None:
        return number(None) + never
    # The bootstrap of one value has no width, which would look like certainty.
    bounds = "too few for an interval" if value.get("n") == 1 else f"{number(value['low'])} to {number(value['high'])}"
    return f"{number(value['value'])} ({bounds}){never}"


def _caption(path: Sequence[str]) -> str:
    return ", ".join(map(label, path))


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
