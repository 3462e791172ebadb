"""Finding 4: whether trajectories of generated texts are localized, compared with a random walk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.analysis.trajectories import compare_with_null
from workers.reports.evidence.evidence import Evidence, Floats
from workers.reports.evidence.measurement_cache import Cached
from workers.reports.findings.result import FindingResult, judge, not_measured
from workers.reports.findings.statistics import Resampling

LOCAL = 0.5
RULE_MEASURES = ("radius_of_gyration", "step_length")

TITLE = "Trajectories of generated sentences are not localized"
RULE = (
    "Parts: for each dataset and layer, the trajectories are not localized. This holds if their radius of gyration and their "
    f"step length are both at least {LOCAL:g} of those of a random walk (lower ends of the intervals of the ratios); it does "
    "not hold if one of them is less (upper end); otherwise it is open. The random walk is over the vocabulary at the embedding "
    "layer, and over states of the same dataset above."
)


def measure_trajectories(evidence: Evidence, *, resampling: Resampling, cached: Cached) -> list[dict[str, Any]]:
    """One row per dataset, layer and null model, with the comparisons of all measures."""
    rows: list[dict[str, Any]] = []
    for trajectories in evidence.trajectories:
        for layer, found in trajectories.by_layer.items():
            nulls = {"vocabulary": evidence.vocabulary} if layer == 0 else {}
            if trajectories.dataset in evidence.clouds and layer in evidence.clouds[trajectories.dataset]:
                nulls["dataset"] = evidence.clouds[trajectories.dataset][layer].tokens
            fields = {"dataset": trajectories.dataset, "part": trajectories.part, "layer": layer, "n_walks": len(found)}
            for null, points in nulls.items():
                rows += cached(
                    f"walks {trajectories.dataset} {layer} {null}",
                    lambda points=points, found=found, fields={**fields, "null": null}: _compared(  # type: ignore[misc]
                        found, points, fields=fields, resampling=resampling
                    ),
                )
    return rows


def finding_localization(rows: list[dict[str, Any]]) -> FindingResult:
    """Finding 4: trajectories of generated sentences are not localized."""
    # At the embeddings the null model of the paper is the vocabulary; above, it is the dataset's own states.
    rule_rows = [row for row in rows if row["layer"] > 0 or row["null"] == "vocabulary"]
    if not rule_rows:
        return not_measured(4, title=TITLE, rule=RULE, missing="generations of three tokens or more")
    parts = {f"{row['dataset']}, layer {row['layer']}": _is_not_localized(row) for row in rule_rows}
    ratios = {
        name: {f"{row['dataset']}, layer {row['layer']}, {row['null']}": row[name]["ratio"] for row in rows}
        for name in RULE_MEASURES
    }
    return judge(4, title=TITLE, rule=RULE, parts=parts, numbers={"ratios": ratios})


def _compared(
    found: Sequence[Floats], points: Floats, *, fields: dict[str, Any], resampling: Resampling
) -> list[dict[str, Any]]:
    try:
        compared = compare_with_null(found, points, samples=resampling.samples, seed=resampling.seed)
    except ValueError:
        # Fewer than two trajectories of three or more tokens.
        return []
    return [{**fields, **{comparison.measure: comparison.to_json() for comparison in compared}}]


def _is_not_localized(row: dict[str, Any]) -> bool | None:
    ratios = [row[name]["ratio"] for name in RULE_MEASURES]
    if None in ratios:
        # A cloud that is a single point has no radius to compare with.
        return None
    if any(ratio["high"] < LOCAL for ratio in ratios):
        return False
    return True if all(ratio["low"] >= LOCAL for ratio in ratios) else None
