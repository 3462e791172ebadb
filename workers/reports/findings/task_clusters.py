"""Finding 5: whether tasks form separate clusters at every layer."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.analysis.separation import clusters, energy_distance, mean_distance_ratio, mmd, probe_accuracy, silhouette
from workers.reports.evidence.evidence import Evidence, Floats, TaskCloud
from workers.reports.evidence.measurement_cache import Cached
from workers.reports.findings.result import FindingResult, judge, not_measured
from workers.reports.findings.statistics import LEVEL, Resampling

MAX_TOKENS = 600
"""Tokens per dataset in a comparison of token clouds; permutation tests need all pairwise distances."""

MIN_SEPARATION = 0.25
MIN_TOTAL_VARIATION = 0.5

TITLE = "Distant tasks have distinct clusters at all layers; near tasks share one"
RULE = (
    "A pair of datasets is distant if the total variation between their token frequencies is at least "
    f"{MIN_TOTAL_VARIATION:g}, otherwise near. On mean states of texts, a pair is separated at a layer if unsupervised "
    f"clusters match the datasets (adjusted Rand index of HDBSCAN at least {MIN_SEPARATION:g}) or the silhouette is at "
    f"least {MIN_SEPARATION:g}, and the permutation p-value of the energy distance is below {LEVEL:g}. Parts: each "
    "distant pair is separated at every layer; each near pair is separated at no more than half of the layers."
)


def measure_separation(evidence: Evidence, *, resampling: Resampling, cached: Cached) -> list[dict[str, Any]]:
    """One row per layer, pair of datasets, measure and kind of point (mean of a text, or token)."""
    rows: list[dict[str, Any]] = []
    for first, second in combinations(sorted(evidence.clouds), 2):
        for layer in evidence.layers:
            ours, theirs = evidence.clouds[first][layer], evidence.clouds[second][layer]
            fields = {"layer": layer, "pair": [first, second]}
            rows += cached(
                f"separation {first} {second} {layer}",
                lambda ours=ours, theirs=theirs, fields=fields: _text_and_token_rows(  # type: ignore[misc]
                    ours, theirs, fields=fields, resampling=resampling
                ),
            )
    return rows


def finding_tasks(evidence: Evidence, rows: list[dict[str, Any]]) -> FindingResult:
    """Finding 5: distant tasks have distinct clusters at all layers, near tasks share one."""
    if not rows:
        return not_measured(5, title=TITLE, rule=RULE, missing="at least two datasets")
    parts: dict[str, bool | None] = {}
    pairs: dict[str, dict[str, Any]] = {}
    for pair in dict.fromkeys(tuple(row["pair"]) for row in rows):
        own = [row for row in rows if tuple(row["pair"]) == pair and row["per"] == "text"]
        layers = sorted({row["layer"] for row in own})
        separated_at = [layer for layer in layers if _is_separated([row for row in own if row["layer"] == layer])]
        variation = total_variation(*(evidence.text_statistics[name].counts for name in pair))
        name = " | ".join(pair)
        pairs[name] = {
            "total_variation": variation,
            "apart_at": separated_at,
            "n_layers": len(layers),
            **_medians(rows, pair),
        }
        if variation >= MIN_TOTAL_VARIATION:
            parts[f"distant, apart everywhere: {name}"] = separated_at == layers
        else:
            parts[f"near, together: {name}"] = 2 * len(separated_at) <= len(layers)
    return judge(5, title=TITLE, rule=RULE, parts=parts, numbers={"pairs": pairs})


def total_variation(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> float:
    """Total variation distance between two count vectors `[n]`, normalized to frequencies: 0 to 1."""
    return float(np.abs(first / max(1, first.sum()) - second / max(1, second.sum())).sum() / 2)


def _medians(rows: list[dict[str, Any]], pair: tuple[str, ...]) -> dict[str, float]:
    """Medians over layers: silhouettes of texts and of tokens, and the accuracy of a linear probe on tokens."""
    reported = {("silhouette", "text"), ("silhouette", "token"), ("probe_accuracy", "token")}
    found: dict[str, list[float]] = {}
    for row in rows:
        if tuple(row["pair"]) == pair and (row["measure"], row["per"]) in reported:
            found.setdefault(f"{row['measure']}_{row['per']}s", []).append(row["value"])
    return {name: float(np.median(values)) for name, values in found.items()}


def _text_and_token_rows(
    ours: TaskCloud, theirs: TaskCloud, *, fields: dict[str, Any], resampling: Resampling
) -> list[dict[str, Any]]:
    tokens = [_sample(cloud.tokens, seed=resampling.seed) for cloud in (ours, theirs)]
    return [
        {**fields, "per": per, **row}
        for per, points in (("text", (ours.texts, theirs.texts)), ("token", tokens))
        for row in _measures(*points, resampling=resampling)
    ]


def _measures(first: Floats, second: Floats, *, resampling: Resampling) -> list[dict[str, Any]]:
    points = np.concatenate([first, second])
    labels = [0] * len(first) + [1] * len(second)
    energy = energy_distance(first, second, permutations=resampling.samples, seed=resampling.seed)
    discrepancy = mmd(first, second, permutations=resampling.samples, seed=resampling.seed)
    width = silhouette(points, labels, samples=resampling.samples, seed=resampling.seed)
    found = clusters(points, labels, seed=resampling.seed)
    rows: list[dict[str, Any]] = [
        {"measure": "energy_distance", "value": energy.value, "p_value": energy.p_value},
        {"measure": "mmd", "value": discrepancy.value, "p_value": discrepancy.p_value},
        {"measure": "silhouette", "value": width.value, "low": width.low, "high": width.high},
        {"measure": "hdbscan_ari", "value": found.agreement, "n_clusters": found.n_clusters, "noise": found.noise},
        {"measure": "distance_ratio", "value": mean_distance_ratio(first, second)},
    ]
    if min(len(first), len(second)) >= 5:
        probe = probe_accuracy(points, labels, samples=resampling.samples, seed=resampling.seed)
        rows.append({"measure": "probe_accuracy", "value": probe.value, "low": probe.low, "high": probe.high})
    return rows


def _is_separated(rows: list[dict[str, Any]]) -> bool:
    values = {row["measure"]: row for row in rows}
    index, width = values["hdbscan_ari"]["value"], values["silhouette"]["value"]
    return bool(max(index, width) >= MIN_SEPARATION and values["energy_distance"]["p_value"] < LEVEL)


def _sample(points: Floats, *, seed: int) -> Floats:
    chosen = np.sort(np.random.default_rng(seed).permutation(len(points))[:MAX_TOKENS])
    return points[chosen]
