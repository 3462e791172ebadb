"""Do tasks lie apart at every layer. Finding 5."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from workers.analysis.separation import clusters, energy_distance, mean_distance_ratio, mmd, probe_accuracy, silhouette
from workers.reports.answer import Answer, not_measured, verdict_of
from workers.reports.evidence import Evidence, Floats
from workers.reports.numbers import Budget

MAX_TOKENS = 600
"""Tokens of each side in a comparison of token clouds: permutation tests look at all pairs."""

APART, TOGETHER = 0.25, 0.1

TASKS_RULE = (
    "On means of texts, a pair of datasets is apart at a layer when blind clusters agree with the datasets "
    f"(adjusted Rand index of HDBSCAN at least {APART:g}) or the silhouette is at least {APART:g}, and the energy "
    "distance's permutation p-value is below 0.05; it lies together when index and silhouette are both below "
    f"{TOGETHER:g}. Confirmed when some pair is apart at every layer and some pair is apart at none. Contradicted "
    "when no pair is apart at every layer. Mixed when all pairs are apart everywhere."
)


def measure_separation(evidence: Evidence, *, budget: Budget, check: Callable[[], None]) -> list[dict[str, Any]]:
    """One row a layer, pair of datasets, measure, and kind of point; ``pair`` names the datasets."""
    rows: list[dict[str, Any]] = []
    for first, second in combinations(sorted(evidence.clouds), 2):
        for layer in evidence.layers:
            check()
            ours, theirs = evidence.clouds[first][layer], evidence.clouds[second][layer]
            fields = {"layer": layer, "pair": [first, second]}
            rows += [{**fields, "per": "text", **row} for row in _measures(ours.texts, theirs.texts, budget=budget)]
            tokens = [_some(cloud.tokens, seed=budget.seed) for cloud in (ours, theirs)]
            rows += [{**fields, "per": "token", **row} for row in _measures(*tokens, budget=budget)]
    return rows


def finding_tasks(rows: list[dict[str, Any]]) -> Answer:
    """Finding 5: distant tasks have clusters of their own at all layers, near ones share one."""
    title = "Distant tasks have distinct clusters at all layers; near tasks share one"
    if not rows:
        return not_measured(5, title=title, rule=TASKS_RULE, missing="two datasets or more")
    pairs: dict[str, dict[int, str]] = {}
    for pair in dict.fromkeys(tuple(row["pair"]) for row in rows):
        own = [row for row in rows if tuple(row["pair"]) == pair and row["per"] == "text"]
        layers = sorted({row["layer"] for row in own})
        pairs[" | ".join(pair)] = {layer: _state([row for row in own if row["layer"] == layer]) for layer in layers}
    apart = [name for name, by_layer in pairs.items() if set(by_layer.values()) == {"apart"}]
    never = [name for name, by_layer in pairs.items() if "apart" not in by_layer.values()]
    numbers = {"pairs": pairs, "apart_at_every_layer": apart, "apart_at_no_layer": never}
    verdict = verdict_of(for_it=int(bool(apart)), against_it=int(not apart))
    if verdict == "confirmed" and not never:
        verdict = "mixed"
    return Answer(number=5, title=title, rule=TASKS_RULE, verdict=verdict, numbers=numbers)


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


def _state(rows: list[dict[str, Any]]) -> str:
    values = {row["measure"]: row for row in rows}
    index, width = values["hdbscan_ari"]["value"], values["silhouette"]["value"]
    if max(index, width) >= APART and values["energy_distance"]["p_value"] < 0.05:
        return "apart"
    return "together" if max(index, width) < TOGETHER else "between"


def _some(points: Floats, *, seed: int) -> Floats:
    chosen = np.sort(np.random.default_rng(seed).permutation(len(points))[:MAX_TOKENS])
    return points[chosen]
