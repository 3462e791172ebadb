"""Are trajectories localized, or do they jump about nearly as widely as chance. Finding 4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workers.analysis.walks import compare_with_null
from workers.reports.answer import Answer, not_measured, verdict_of
from workers.reports.evidence import Evidence
from workers.reports.numbers import Budget

LOCAL = 0.5

WALKS_RULE = (
    "A trajectory is localized at a layer when the ratio of its radius of gyration to that of a random walk over "
    f"the cloud is below {LOCAL:g} (high end of the interval), and not localized when the ratio is {LOCAL:g} or "
    "more (low end). The cloud is the vocabulary at the embeddings and the same dataset's tokens above. Confirmed "
    "when no dataset is localized at any layer and at least one is shown not to be; contradicted when all are "
    "localized everywhere."
)


def measure_walks(evidence: Evidence, *, budget: Budget, check: Callable[[], None]) -> list[dict[str, Any]]:
    """One row a dataset, layer and null model; each holds the comparisons of all measures."""
    rows: list[dict[str, Any]] = []
    for walks in evidence.walks:
        for layer, found in walks.by_layer.items():
            check()
            nulls = {"vocabulary": evidence.vocabulary} if layer == 0 else {}
            if walks.dataset in evidence.clouds and layer in evidence.clouds[walks.dataset]:
                nulls["dataset"] = evidence.clouds[walks.dataset][layer].tokens
            for null, points in nulls.items():
                try:
                    compared = compare_with_null(found, points, samples=budget.samples, seed=budget.seed)
                except ValueError:
                    # Fewer than two walks of three tokens: nothing to compare.
                    continue
                rows.append(
                    {
                        "dataset": walks.dataset,
                        "part": walks.part,
                        "layer": layer,
                        "null": null,
                        "n_walks": len(found),
                        **{one.measure: one.to_json() for one in compared},
                    }
                )
    return rows


def finding_walks(rows: list[dict[str, Any]]) -> Answer:
    """Finding 4: trajectories of generated sentences are not localized."""
    title = "Trajectories of generated sentences are not localized"
    # At the embeddings the paper's null model is the vocabulary; above there is only the dataset's own cloud.
    judged = [row for row in rows if row["layer"] > 0 or row["null"] == "vocabulary"]
    if not judged:
        return not_measured(4, title=title, rule=WALKS_RULE, missing="generations of three tokens or more")
    states = {f"{row['dataset']} | layer {row['layer']}": _state(row) for row in judged}
    found = list(states.values())
    verdict = verdict_of(for_it=found.count("not localized"), against_it=found.count("localized"))
    ratios = {
        f"{row['dataset']} | layer {row['layer']} | {row['null']}": {
            name: row[name]["ratio"] for name in ("step_length", "radius_of_gyration")
        }
        for row in rows
    }
    return Answer(
        number=4, title=title, rule=WALKS_RULE, verdict=verdict if any(s != "unclear" for s in found) else "mixed",
        numbers={"states": states, "ratios": ratios},
    )  # fmt: skip


def _state(row: dict[str, Any]) -> str:
    ratio = row["radius_of_gyration"]["ratio"]
    if ratio["high"] < LOCAL:
        return "localized"
    return "not localized" if ratio["low"] >= LOCAL else "unclear"
