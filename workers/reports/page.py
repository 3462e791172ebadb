"""A report as one HTML file that needs nothing else: styles and figures inside, no script, no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

FIGURES_OF = {1: ("prompts",), 2: ("curves",), 3: (), 4: ("walks",), 5: ("tasks", "separation"), 6: (), 7: ("shapes",)}
"""Which figures belong to which finding."""

COLLAPSE_COLUMNS = (
    "prior", "seed", "nearest_distance", "nearest_cosine", "share_within_radius", "mahalanobis", "norm_ratio", "effective_rank",
    "mean_pairwise_distance", "displacement",
)  # fmt: skip


def render(report: Mapping[str, Any], *, figures: Mapping[str, str]) -> str:
    """The page of ``report.json``. figures: SVG by name, made by us; all other text is escaped."""
    environment = Environment(
        loader=PackageLoader("workers.reports", "templates"), autoescape=select_autoescape(default=True), trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "indented": indented}
    return environment.get_template("report.html.j2").render(
        report=report,
        figures={name: Markup(svg) for name, svg in figures.items()},
        figures_of=FIGURES_OF,
        columns=[name for name in COLLAPSE_COLUMNS if any(name in row for row in report["collapse"].values())],
    )


def number(value: Any) -> str:
    """A value of a table: numbers in four digits, nothing where there is none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def indented(value: Any) -> str:
    """Numbers of a finding as JSON that can be read, floats in six digits."""
    return json.dumps(_rounded(value), indent=2, ensure_ascii=False)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
