"""Finding 1: whether tuned vectors stay near their prior draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workers.analysis.neighbours import nearest_tokens
from workers.reports.evidence.collapse_measures import CollapseMeasures, measure_draws
from workers.reports.evidence.evidence import Evidence, Floats, TunedPrompt
from workers.reports.findings.result import FindingResult, judge, not_measured
from workers.reports.findings.statistics import (
    Resampling,
    by_label,
    by_method_and_rate,
    is_above,
    is_significant,
    kruskal_wallis,
    spearman,
)

OWN_DRAW_NEAREST, NEARER_TO_DRAW = "own_draw_is_nearest", "nearer_to_draw_than_to_cloud"
MEASURES = ("displacement", "displacement_cosine", "nearest_distance", "draw_mahalanobis", "mahalanobis")

TITLE = "Tuned vectors stay near their prior draw, within or outside the model's own cloud"
RULE = (
    "Parts. For each method and learning rate: (a) for more than half of a prompt's vectors, the nearest of all prompts' "
    "draws at that layer is the vector's own draw; (b) more than half of the vectors are nearer to their own draw than to"
    " any point of the model's cloud. Both hold if the interval of the mean over prompts is above 0.5, and do not hold if"
    " it is below 0.5; of one prompt, both are open. Over all groups: (c) prompts drawn far from the cloud remain far "
    "from it, i.e. the Mahalanobis distances of draw and posterior are positively correlated within groups (Spearman's "
    "rho, permutation p-value below 0.05)."
)


def finding_displacement(
    evidence: Evidence, collapse: Mapping[str, Mapping[str, Any]], *, resampling: Resampling
) -> FindingResult:
    """Finding 1: tuned vectors stay near their prior draw."""
    prompts = [prompt for prompt in evidence.prompts if prompt.vectors and prompt.draw]
    if len(prompts) < 2:
        missing = "at least two soft or deep prompts whose runs kept their draws"
        return not_measured(1, title=TITLE, rule=RULE, missing=missing)
    measures = CollapseMeasures(evidence)
    own = {
        prompt.ref: {OWN_DRAW_NEAREST: share}
        for prompt in prompts
        if (share := _own_draw_nearest(prompt, prompts)) is not None
    }
    nearer_to_draw = {
        prompt.ref: {NEARER_TO_DRAW: float(np.mean(measures.nearer_to_draw(prompt)))} for prompt in prompts
    }
    measured = {p.ref: {**collapse[p.ref], **nearer_to_draw[p.ref], **own.get(p.ref, {})} for p in prompts}
    shares = {
        name: _shares_by_method_and_rate(prompts, measured, name, resampling=resampling)
        for name in (OWN_DRAW_NEAREST, NEARER_TO_DRAW)
    }
    with_distance = [prompt for prompt in prompts if "draw_mahalanobis" in collapse[prompt.ref]]
    groups = [prompt.group for prompt in with_distance]
    before, after = (
        [collapse[prompt.ref][name] for prompt in with_distance] for name in ("draw_mahalanobis", "mahalanobis")
    )
    distance_correlation = spearman(groups, before, after, resampling=resampling)
    numbers: dict[str, Any] = {
        "by_method_and_rate": {name: table for name, table in shares.items() if table},
        "draw_and_posterior_mahalanobis": distance_correlation,
        "mahalanobis_differs_by_prior": kruskal_wallis(
            groups, [prompt.prior for prompt in with_distance], after, resampling=resampling
        ),
        "by_prior": by_method_and_rate(
            prompts, measured, measures=(OWN_DRAW_NEAREST, NEARER_TO_DRAW, *MEASURES), resampling=resampling
        ),
        "draws": measure_draws(evidence),
    }
    parts = {
        f"{name.replace('_', ' ')}: {setting}": is_above(share, 0.5)
        for name, table in shares.items()
        for setting, share in table.items()
    }
    if distance_correlation is not None:
        parts["far draws end far"] = distance_correlation["rho"] > 0 and is_significant(distance_correlation)
    return judge(1, title=TITLE, rule=RULE, parts=parts, numbers=numbers)


def _shares_by_method_and_rate(
    prompts: Sequence[TunedPrompt], measured: Mapping[str, Mapping[str, Any]], name: str, *, resampling: Resampling
) -> dict[str, dict[str, float]]:
    kept = [prompt for prompt in prompts if name in measured[prompt.ref]]
    return by_label(
        [prompt.method_and_rate for prompt in kept],
        [measured[prompt.ref][name] for prompt in kept],
        resampling=resampling,
    )


def _own_draw_nearest(prompt: TunedPrompt, prompts: Sequence[TunedPrompt]) -> float | None:
    """Share of a prompt's vectors whose nearest draw, among the draws of all prompts at that layer, is their own.

    None if no other prompt has draws at these layers.
    """
    found: list[bool] = []
    for layer, vectors in prompt.vectors.items():
        others = [other.draw[layer] for other in prompts if layer in other.draw and other is not prompt]
        if layer not in prompt.draw or not others:
            continue
        nearest = nearest_tokens(vectors, np.concatenate([prompt.draw[layer], *others])).distances[:, 0]
        own = _distances(vectors, prompt.draw[layer])
        # Prompts with other rates or tasks may share a draw: equal distances count as their own.
        found += (own <= nearest + 1e-6 * (1 + own)).tolist()
    return float(np.mean(found)) if found else None


def _distances(first: Floats, second: Floats) -> Any:
    return np.linalg.norm(first.astype(np.float64) - second, axis=1)
