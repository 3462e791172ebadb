"""Scores of a study's prompts by prior and rate, from the tables of its runs: what is known before any report."""

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final

from workers.reports.evidence.evidence import prior_label

METRICS: Final = ("loss", "exact_match", "f1")
FORMS: Final[Mapping[str, str]] = {"bare": "bare/test/", "draw": "draw/test/", "tuned": "test/"}
"""The model without a prompt, under the draws, and under the tuned prompts."""


def scores_of(name: str, members: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each prior and rate of a run.

    Args:
        name: of the run.
        members: its ``members.json``.

    Returns:
        Rows with ``run``, ``prior``, ``lr``, ``n`` prompts, and the mean over prompts of each metric by form; ``lowest`` and
        ``highest`` are those of the tuned prompts' losses.
    """
    groups: dict[tuple[str, float], list[Mapping[str, float]]] = {}
    for member in members:
        groups.setdefault((prior_label(member["prior"]), float(member["lr"])), []).append(member["metrics"])
    rows = []
    for (prior, lr), found in groups.items():
        means = {
            form: {metric: _mean(found, f"{prefix}{metric}") for metric in METRICS} for form, prefix in FORMS.items()
        }
        losses = [one["test/loss"] for one in found if "test/loss" in one]
        ends = {"lowest": min(losses), "highest": max(losses)} if losses else {}
        rows.append({"run": name, "prior": prior, "lr": lr, "n": len(found), **means, **ends})
    return rows


def read_scores(name: str, table: bytes | str) -> list[dict[str, Any]]:
    """``scores_of`` the contents of ``members.json``."""
    return scores_of(name, json.loads(table))


def _mean(found: Sequence[Mapping[str, float]], metric: str) -> float | None:
    values = [one[metric] for one in found if metric in one]
    return fmean(values) if values else None
