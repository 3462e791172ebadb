"""Do tasks lie apart at every layer. Finding 5."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.analysis.separation import clusters, energy_distance, mean_distance_ratio, mmd, probe_accuracy, silhouette
from workers.reports.evidence.evidence import Evidence, Floats, TaskCloud
from workers.reports.evidence.measurement_cache import Once
from workers.reports.findings.answer import Answer, judged, not_measured
from workers.reports.findings.statistics import LEVEL, Budget

MAX_TOKENS = 600
"""Tokens of each side in a comparison of token clouds: permutation tests look at all pairs."""

APART = 0.25
DISTANT = 0.5

TITLE = "Distant tasks have distinct clusters at all layers; near tasks share one"
RULE = (
    "A pair of datasets is distant when the total variation between the frequencies of their tokens is at least "
    f"{DISTANT:g}, else near. On means of texts, it is apart at a layer when blind clusters agree with the datasets "
    f"(adjusted Rand index of HDBSCAN at least {APART:g}) or the silhouette is at least {APART:g}, and the energy "
    f"distance's permutation p-value is below {LEVEL:g}. Parts: each distant pair is apart at every layer; each near "
    "pair is apart at no more than half of the layers."
)


def measure_separation(evidence: Evidence, *, budget: Budget, once: Once) -> list[dict[str, Any]]:
    """One row a layer, pair of datasets, measure, and kind of point; ``pair`` names the datasets."""
    rows: list[dict[str, Any]] = []
    for first, second in combinations(sorted(evidence.clouds), 2):
        for layer in evidence.layers:
            ours, theirs = evidence.clouds[first][layer], evidence.clouds[second][layer]
            fields = {"layer": layer, "pair": [first, second]}
            rows += once(
                f"separation {first} {second} {layer}",
                lambda ours=ours, theirs=theirs, fields=fields: _both(  # type: ignore[misc]
                    ours, theirs, fields=fields, budget=budget
                ),
            )
    return rows


def finding_tasks(evidence: Evidence, rows: list[dict[str, Any]]) -> Answer:
    """Finding 5: distant tasks have clusters of their own at all layers, near ones share one."""
    if not rows:
        return not_measured(5, title=TITLE, rule=RULE, missing="two datasets or more")
    parts: dict[str, bool | None] = {}
    pairs: dict[str, dict[str, Any]] = {}
    for pair in dict.fromkeys(tuple(row["pair"]) for row in rows):
        own = [row for row in rows if tuple(row["pair"]) == pair and row["per"] == "text"]
        layers = sorted({row["layer"] for row in own})
        apart = [layer for layer in layers if _is_apart([row for row in own if row["layer"] == layer])]
        variation = total_variation(*(evidence.wordings[name].counts for name in pair))
        name = " | ".join(pair)
        pairs[name] = {"total_variation": variation, "apart_at": apart, "n_layers": len(layers), **_medians(rows, pair)}
        if variation >= DISTANT:
            parts[f"distant, apart everywhere: {name}"] = apart == layers
        else:
            parts[f"near, together: {name}"] = 2 * len(apart) <= len(layers)
    return judged(5, title=TITLE, rule=RULE, parts=parts, numbers={"pairs": pairs})


def total_variation(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> float:
    """Half the sum of the differences of two frequencies `[n]`: the share of the one that would have to be exchanged."""
    return float(np.abs(first / max(1, first.sum()) - second / max(1, second.sum())).sum() / 2)


def _medians(rows: list[dict[str, Any]], pair: tuple[str, ...]) -> dict[str, float]:
    """Over layers: the silhouette of texts and of tokens, and how well a probe tells tokens apart."""
    wanted = {("silhouette", "text"), ("silhouette", "token"), ("probe_accuracy", "token")}
    found: dict[str, list[float]] = {}
    for row in rows:
        if tuple(row["pair"]) == pair and (row["measure"], row["per"]) in wanted:
            found.setdefault(f"{row['measure']}_{row['per']}s", []).append(row["value"])
    return {name: float(np.median(values)) for name, values in found.items()}


def _both(ours: TaskCloud, theirs: TaskCloud, *, fields: dict[str, Any], budget: Budget) -> list[dict[str, Any]]:
    tokens = [_some(cloud.tokens, seed=budget.seed) for cloud in (ours, theirs)]
    return [
        {**fields, "per": per, **row}
        for per, points in (("text", (ours.texts, theirs.texts)), ("token", tokens))
        for row in _measures(*points, budget=budget)
    ]


def _measures(first: Floats, second: Floats, *, budget: Budget) -> list[dict[str, Any]]:
    points = np.concatenate([first, second])
    labels = [0] * len(first) + [1] * len(second)
    energy = energy_distance(first, second, permutations=budget.samples, seed=budget.seed)
    discrepancy = mmd(first, second, permutations=budget.samples, seed=budget.seed)
    width = silhouette(points, labels, samples=budget.samples, seed=budget.seed)
    found = clusters(points, labels, seed=budget.seed)
    rows: list[dict[str, Any]] = [
        {"measure": "energy_distance", "value": energy.value, "p_value": energy.p_value},
        {"measure": "mmd", "value": discrepancy.value, "p_value": discrepancy.p_value},
        {"measure": "silhouette", "value": width.value, "low": width.low, "high": width.high},
        {"measure": "hdbscan_ari", "value": found.agreement, "n_clusters": found.n_clusters, "noise": found.noise},
        {"measure": "distance_ratio", "value": mean_distance_ratio(first, second)},
    ]
    if min(len(first), len(second)) >= 5:
        probe = probe_accuracy(points, labels, samples=budget.samples, seed=budget.seed)
        rows.append({"measure": "probe_accuracy", "value": probe.value, "low": probe.low, "high": probe.high})
    return rows


def _is_apart(rows: list[dict[str, Any]]) -> bool:
    values = {row["measure"]: row for row in rows}
    index, width = values["hdbscan_ari"]["value"], values["silhouette"]["value"]
    return bool(max(index, width) >= APART and values["energy_distance"]["p_value"] < LEVEL)


def _some(points: Floats, *, seed: int) -> Floats:
    chosen = np.sort(np.random.default_rng(seed).permutation(len(points))[:MAX_TOKENS])
    return points[chosen]
