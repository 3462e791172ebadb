"""Are trajectories localized, or do they jump about nearly as widely as chance. Finding 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.analysis.trajectories import compare_with_null
from workers.reports.evidence.evidence import Evidence, Floats
from workers.reports.evidence.measurement_cache import Once
from workers.reports.findings.answer import Answer, judged, not_measured
from workers.reports.findings.statistics import Budget

LOCAL = 0.5
JUDGED = ("radius_of_gyration", "step_length")

TITLE = "Trajectories of generated sentences are not localized"
RULE = (
    "Parts: at each layer, the trajectories of each dataset are not localized. It holds when their radius of gyration "
    f"and their step length are both at least {LOCAL:g} of those of a random walk (low ends of the intervals of the "
    "ratios); it does not when one is less (high end); else it is open. The walk is over the vocabulary at the "
    "embeddings, and over the same dataset's tokens above."
)


def measure_walks(evidence: Evidence, *, budget: Budget, once: Once) -> list[dict[str, Any]]:
    """One row a dataset, layer and null model; each holds the comparisons of all measures."""
    rows: list[dict[str, Any]] = []
    for walks in evidence.walks:
        for layer, found in walks.by_layer.items():
            nulls = {"vocabulary": evidence.vocabulary} if layer == 0 else {}
            if walks.dataset in evidence.clouds and layer in evidence.clouds[walks.dataset]:
                nulls["dataset"] = evidence.clouds[walks.dataset][layer].tokens
            fields = {"dataset": walks.dataset, "part": walks.part, "layer": layer, "n_walks": len(found)}
            for null, points in nulls.items():
                rows += once(
                    f"walks {walks.dataset} {layer} {null}",
                    lambda points=points, found=found, fields={**fields, "null": null}: _compared(  # type: ignore[misc]
                        found, points, fields=fields, budget=budget
                    ),
                )
    return rows


def finding_walks(rows: list[dict[str, Any]]) -> Answer:
    """Finding 4: trajectories of generated sentences are not localized."""
    # At the embeddings the paper's null model is the vocabulary; above there is only the dataset's own cloud.
    judged_rows = [row for row in rows if row["layer"] > 0 or row["null"] == "vocabulary"]
    if not judged_rows:
        return not_measured(4, title=TITLE, rule=RULE, missing="generations of three tokens or more")
    parts = {f"{row['dataset']}, layer {row['layer']}": _is_wide(row) for row in judged_rows}
    ratios = {
        name: {f"{row['dataset']}, layer {row['layer']}, {row['null']}": row[name]["ratio"] for row in rows}
        for name in JUDGED
    }
    return judged(4, title=TITLE, rule=RULE, parts=parts, numbers={"ratios": ratios})


def _compared(
    found: Sequence[Floats], points: Floats, *, fields: dict[str, Any], budget: Budget
) -> list[dict[str, Any]]:
    try:
        compared = compare_with_null(found, points, samples=budget.samples, seed=budget.seed)
    except ValueError:
        # Fewer than two walks of three tokens: nothing to compare.
        return []
    return [{**fields, **{one.measure: one.to_json() for one in compared}}]


def _is_wide(row: dict[str, Any]) -> bool | None:
    ratios = [row[name]["ratio"] for name in JUDGED]
    if None in ratios:
        # A cloud that is a single point has no width to compare with.
        return None
    if any(ratio["high"] < LOCAL for ratio in ratios):
        return False
    return True if all(ratio["low"] >= LOCAL for ratio in ratios) else None
