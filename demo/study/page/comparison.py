"""The table that compares the findings: what the paper states, the demo model's verdict, and that of the study's model."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from promptatlas.types import Finding, Report

from demo.study.tables import interval, markdown_table, shown
from workers.reports.findings.task_clusters import MIN_TOTAL_VARIATION

_VERDICT: Final = re.compile(r"^\| (\d)\. .*? \| \*\*(.+?)\*\* \| (.*?) \|$", re.MULTILINE)

PAPER: Final[Mapping[int, str]] = {
    1: "Priors strongly affect where tuned embeddings are; these can be in new regions (abstract).",
    2: "The final quality does not depend on the prior; distant initialisations take longer.",
    3: "Collapse onto existing tokens is not inevitable; it depends on prior and learning rate.",
    4: "Generated trajectories are not localized in the activation space (abstract).",
    5: "Distant tasks, such as language and arithmetic, have distinct clusters; language tasks share one (abstract).",
    6: "Prompts from interpolated activations of two domains tune as well as others.",
    7: "Activations of natural language are unimodal at all layers; a Gaussian fits them badly.",
}
"""The findings of arXiv 2412.18582 in our words. Those of the abstract are marked."""


def verdicts_of(page: str) -> dict[int, str]:
    """Verdicts with the counts of their parts, by number of the finding, from the table of a page of findings."""
    return {int(number): f"{verdict} ({counts})" for number, verdict, counts in _VERDICT.findall(page)}


def comparison(report: Report, *, others: Mapping[int, str]) -> str:
    """One row per finding. others: verdicts of the demo model."""
    rows = [
        (
            f"{finding.number}. {PAPER[finding.number]}",
            others.get(finding.number, "–"),
            f"**{finding.verdict}**",
            headline(finding),
        )
        for finding in report.findings
    ]
    return markdown_table(("the paper's finding", "demo model", "this model", "measured on this model"), rows)


def headline(finding: Finding) -> str:
    """The numbers that decide a finding, with 95 % intervals; what was missing if it was not measured."""
    if not finding.numbers:
        return f"requires {finding.missing}"
    return HEADLINES[finding.number](finding.numbers)


def _displacement(numbers: Mapping[str, Any]) -> str:
    shares = numbers["by_method_and_rate"].get("own_draw_is_nearest", {})
    return "own draw nearest: " + "; ".join(f"{name} {interval(share)}" for name, share in shares.items())


def _quality(numbers: Mapping[str, Any]) -> str:
    spreads = "; ".join(f"{name} {shown(table['spread_of_means'])}" for name, table in numbers["groups"].items())
    return f"range of mean scores: {spreads}. Distance and steps: {_test(numbers['distance_of_draw_and_steps'])}"


def _collapse(numbers: Mapping[str, Any]) -> str:
    share = interval(numbers["share_within_radius"])
    return f"{numbers['n_collapsed']} of {numbers['n_prompts']} prompts collapsed; share within the radius of a token {share}"


def _localization(numbers: Mapping[str, Any]) -> str:
    lowest = min(numbers["ratios"]["radius_of_gyration"].items(), key=lambda item: item[1]["low"])
    return f"smallest radius of gyration, relative to a random walk: {interval(lowest[1])} ({lowest[0]})"


def _tasks(numbers: Mapping[str, Any]) -> str:
    pairs = numbers["pairs"].values()
    distant = [row for row in pairs if row["total_variation"] >= MIN_TOTAL_VARIATION]
    near = [row for row in pairs if row["total_variation"] < MIN_TOTAL_VARIATION]
    apart = sum(len(row["apart_at"]) == row["n_layers"] for row in distant)
    together = sum(2 * len(row["apart_at"]) <= row["n_layers"] for row in near)
    return f"apart at all layers: {apart} of {len(distant)} distant pairs; one cluster: {together} of {len(near)} near pairs"


def _interpolation(numbers: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{name} {interval(row['interpolation'])}, others {shown(row['median_of_other_priors'])}"
        for name, row in numbers["groups"].items()
    )


def _shape(numbers: Mapping[str, Any]) -> str:
    shares = "; ".join(f"{name.replace('_', ' ')} {shown(share)}" for name, share in numbers["shares"].items())
    return f"shares of {numbers['n_clouds']} clouds: {shares}"


def _test(test: Mapping[str, float] | None) -> str:
    return "not tested" if test is None else f"rho {shown(test['rho'])}, p {shown(test['p_value'])}"


HEADLINES: Final[Mapping[int, Callable[[Mapping[str, Any]], str]]] = {
    1: _displacement,
    2: _quality,
    3: _collapse,
    4: _localization,
    5: _tasks,
    6: _interpolation,
    7: _shape,
}
