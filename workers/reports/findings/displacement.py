"""Do priors decide where tuned vectors end. Finding 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workers.analysis.neighbours import nearest_tokens
from workers.reports.evidence.collapse_measures import CollapseMeasures, measure_draws
from workers.reports.evidence.evidence import Evidence, Floats, Tuned
from workers.reports.findings.answer import Answer, judged, not_measured
from workers.reports.findings.statistics import Budget, above, by_label, by_manner, correlates, differs, is_shown

OWN, STAYS = "own_draw_is_nearest", "nearer_to_draw_than_to_cloud"
MEASURES = ("displacement", "displacement_cosine", "nearest_distance", "draw_mahalanobis", "mahalanobis")

TITLE = "Tuned vectors stay near their prior draw, within or outside the model's own cloud"
RULE = (
    "Parts: for each method and rate, (a) in more than half of a prompt's vectors the nearest of all prompts' draws at that "
    "layer is the vector's own (mean over prompts: the whole interval above 0.5; below 0.5, it does not hold), and (b) more "
    "than half of the vectors lie nearer to their own draw than to any point of the model's own cloud (likewise). Over all "
    "groups, (c) prompts that are drawn far from the cloud end far from it: the Mahalanobis distances of draw and posterior "
    "rise together within groups (Spearman's rho, permutation p-value below 0.05)."
)


def finding_stay(evidence: Evidence, collapse: Mapping[str, Mapping[str, Any]], *, budget: Budget) -> Answer:
    """Finding 1: priors decide where tuned vectors end."""
    prompts = [prompt for prompt in evidence.prompts if prompt.vectors and prompt.draw]
    if len(prompts) < 2:
        missing = "at least two soft or deep prompts whose runs have kept their draws"
        return not_measured(1, title=TITLE, rule=RULE, missing=missing)
    measures = CollapseMeasures(evidence)
    own = {prompt.ref: {OWN: share} for prompt in prompts if (share := _own_draw_nearest(prompt, prompts)) is not None}
    stays = {prompt.ref: {STAYS: float(np.mean(measures.stays(prompt)))} for prompt in prompts}
    told = {p.ref: {**collapse[p.ref], **stays[p.ref], **own.get(p.ref, {})} for p in prompts}
    shares = {name: _of_manners(prompts, told, name, budget=budget) for name in (OWN, STAYS)}
    placed = [prompt for prompt in prompts if "draw_mahalanobis" in collapse[prompt.ref]]
    groups = [prompt.group for prompt in placed]
    before, after = ([collapse[prompt.ref][name] for prompt in placed] for name in ("draw_mahalanobis", "mahalanobis"))
    ends_as_begun = correlates(groups, before, after, budget=budget)
    numbers: dict[str, Any] = {
        "by_method_and_rate": {name: table for name, table in shares.items() if table},
        "draw_and_posterior_mahalanobis": ends_as_begun,
        "mahalanobis_differs_by_prior": differs(groups, [prompt.prior for prompt in placed], after, budget=budget),
        "by_prior": by_manner(prompts, told, measures=(OWN, STAYS, *MEASURES), budget=budget),
        "draws": measure_draws(evidence),
    }
    parts = {
        f"{name.replace('_', ' ')}: {manner}": above(share, 0.5)
        for name, table in shares.items()
        for manner, share in table.items()
    }
    if ends_as_begun is not None:
        parts["far draws end far"] = ends_as_begun["rho"] > 0 and is_shown(ends_as_begun)
    return judged(1, title=TITLE, rule=RULE, parts=parts, numbers=numbers)


def _of_manners(
    prompts: Sequence[Tuned], told: Mapping[str, Mapping[str, Any]], name: str, *, budget: Budget
) -> dict[str, dict[str, float]]:
    kept = [prompt for prompt in prompts if name in told[prompt.ref]]
    return by_label([prompt.manner for prompt in kept], [told[prompt.ref][name] for prompt in kept], budget=budget)


def _own_draw_nearest(prompt: Tuned, prompts: Sequence[Tuned]) -> float | None:
    """Of a prompt's vectors, the share whose nearest draw among those of all prompts at its layer is its own.

    None where no other prompt has draws there that differ from its own.
    """
    found: list[bool] = []
    for layer, vectors in prompt.vectors.items():
        others = [other.draw[layer] for other in prompts if layer in other.draw and other is not prompt]
        if layer not in prompt.draw or not others:
            continue
        nearest = nearest_tokens(vectors, np.concatenate([prompt.draw[layer], *others])).distances[:, 0]
        own = _lengths(vectors, prompt.draw[layer])
        # Prompts may share one draw (other rates, other tasks): equal distances count as one's own.
        found += (own <= nearest + 1e-6 * (1 + own)).tolist()
    return float(np.mean(found)) if found else None


def _lengths(first: Floats, second: Floats) -> Any:
    return np.linalg.norm(first.astype(np.float64) - second, axis=1)
