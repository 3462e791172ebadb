"""Findings 2 and 6: whether final quality and speed of convergence depend on the prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.reports.evidence.evidence import Evidence, TunedPrompt
from workers.reports.findings.result import FindingResult, judge, not_measured
from workers.reports.findings.statistics import (
    MIN_VALUES,
    Resampling,
    by_label,
    has_few,
    is_significant,
    kruskal_wallis,
    spearman,
    spread_of_means,
    summary,
)

SCORES = ("exact_match", "accuracy", "f1", "numeric_match")
SPLITS = ("test", "validation", "train")
TOLERANCE = 0.05
LEARNT = 0.1

GROUP_RULE = (
    "A group has the prompts of one method, task and learning rate. Groups whose best score is less than "
    f"{LEARNT:g} above the model without a prompt are excluded, since nothing was learned."
)
QUALITY_TITLE = "Final quality does not depend on the prior; distant initializations need more steps"
QUALITY_RULE = (
    f"{GROUP_RULE} Parts. For each group: (a) the largest and the smallest mean score of its priors differ by at most "
    f"{TOLERANCE:g}. It does not hold if they differ by more and scores differ between priors (Kruskal-Wallis, permutation"
    " p-value below 0.05); otherwise, or if a prior has one prompt only, it is open. Over all groups: (b) the number of "
    "steps to the group's common loss increases with the Mahalanobis distance of the draw from the model's cloud "
    "(Spearman's rho within groups, one-sided permutation p-value below 0.05). The common loss is the geometric mean of "
    "the group's median first and median best validation loss. A prompt that never reaches it ranks as slower than all "
    "others."
)
INTERPOLATION_TITLE = "Prompts initialized from interpolated activations tune as well as others"
INTERPOLATION_RULE = (
    f"{GROUP_RULE} Parts: for each group with prompts of an interpolation prior and of other priors, the mean score of the "
    f"interpolation is at most {TOLERANCE:g} below the median of the other priors' mean scores. It does not hold if it is "
    "lower and the scores differ (Kruskal-Wallis, permutation p-value below 0.05); otherwise, or if either side has one prompt "
    "only, it is open."
)


@dataclass(frozen=True, kw_only=True)
class StepsToLoss:
    """Steps of each prompt, by reference, until a common loss (nats) is reached; infinite if it never is."""

    loss: float
    steps: Mapping[str, float]


def score_of(prompt: TunedPrompt) -> tuple[str, float] | None:
    """Name and value of the first score in a prompt's manifest; None if it has none."""
    for split in SPLITS:
        for name in SCORES:
            if (value := prompt.metrics.get(f"{split}/{name}")) is not None:
                return f"{split}/{name}", float(value)
    return None


def groups_of(prompts: Sequence[TunedPrompt]) -> dict[str, list[TunedPrompt]]:
    """Prompts with comparable scores, by group."""
    groups: dict[str, list[TunedPrompt]] = {}
    for prompt in prompts:
        if score_of(prompt) is not None:
            groups.setdefault(prompt.group, []).append(prompt)
    return groups


def steps_to_common_loss(prompts: Sequence[TunedPrompt]) -> StepsToLoss | None:
    """Steps to the geometric mean of first and best loss; None with fewer than two curves, or if no loss decreased."""
    curved = [prompt for prompt in prompts if len(prompt.curve) > 1]
    if len(curved) < 2:
        return None
    first = float(np.median([prompt.curve[0][1] for prompt in curved]))
    best = float(np.median([min(loss for _, loss in prompt.curve) for prompt in curved]))
    if not 0 < best < first:
        return None
    common_loss = float(np.sqrt(first * best))
    steps = {
        prompt.ref: float(next((step for step, loss in prompt.curve if loss <= common_loss), np.inf))
        for prompt in curved
    }
    return StepsToLoss(loss=common_loss, steps=steps)


def finding_quality(
    evidence: Evidence, collapse: Mapping[str, Mapping[str, Any]], *, resampling: Resampling
) -> FindingResult:
    """Finding 2: the prior affects the speed of tuning, not the final quality."""
    groups = {
        name: group for name, group in _learnt_groups(evidence.prompts).items() if len({p.prior for p in group}) > 1
    }
    if not groups:
        missing = (
            "prompts of at least two priors, tuned by one method for one task, with a score in their metrics that is at least "
            f"{LEARNT:g} above that of the bare model"
        )
        return not_measured(2, title=QUALITY_TITLE, rule=QUALITY_RULE, missing=missing)
    tables = {name: _group_table(group, resampling=resampling) for name, group in groups.items()}
    parts: dict[str, bool | None] = {f"alike: {name}": _alike(table) for name, table in tables.items()}
    distance_and_steps = _correlate_distance_and_steps(groups, collapse, resampling=resampling)
    if distance_and_steps is not None:
        parts["far starts take longer"] = distance_and_steps["rho"] > 0 and is_significant(distance_and_steps)
    numbers = {"distance_of_draw_and_steps": distance_and_steps, "groups": tables}
    return judge(2, title=QUALITY_TITLE, rule=QUALITY_RULE, parts=parts, numbers=numbers)


def finding_interpolation(evidence: Evidence, *, resampling: Resampling) -> FindingResult:
    """Finding 6: prompts initialized from interpolated activations tune as well as others."""
    tables: dict[str, Any] = {}
    for name, group in _learnt_groups(evidence.prompts).items():
        ours = [prompt for prompt in group if _is_interpolation(prompt)]
        others = [prompt for prompt in group if not _is_interpolation(prompt)]
        if ours and others:
            tables[name] = _comparison(ours, others, resampling=resampling)
    if not tables:
        missing = (
            "prompts of an interpolation prior and of another prior, with a score in their metrics that is at least "
            f"{LEARNT:g} above that of the bare model"
        )
        return not_measured(6, title=INTERPOLATION_TITLE, rule=INTERPOLATION_RULE, missing=missing)
    parts = {f"as good: {name}": _as_good(table) for name, table in tables.items()}
    return judge(6, title=INTERPOLATION_TITLE, rule=INTERPOLATION_RULE, parts=parts, numbers={"groups": tables})


def _learnt_groups(prompts: Sequence[TunedPrompt]) -> dict[str, list[TunedPrompt]]:
    found = {}
    for name, group in groups_of(prompts).items():
        scores = [
            (score, prompt.metrics.get(f"bare/{score[0]}", 0.0)) for prompt in group if (score := score_of(prompt))
        ]
        if max(score[1] - bare for score, bare in scores) >= LEARNT:
            found[name] = group
    return found


def _values(prompts: Sequence[TunedPrompt]) -> list[float]:
    return [score[1] for prompt in prompts if (score := score_of(prompt)) is not None]


def _group_table(group: Sequence[TunedPrompt], *, resampling: Resampling) -> dict[str, Any]:
    labels, values = [prompt.prior for prompt in group], _values(group)
    table = by_label(labels, values, resampling=resampling)
    score = score_of(group[0])
    found: dict[str, Any] = {
        "score": score[0] if score else None,
        "by_prior": table,
        "spread_of_means": spread_of_means(table),
        "differs_by_prior": kruskal_wallis([0] * len(group), labels, values, resampling=resampling),
    }
    convergence = steps_to_common_loss(group)
    if convergence is not None:
        curved = [prompt for prompt in group if prompt.ref in convergence.steps]
        best = [min(loss for _, loss in prompt.curve) for prompt in curved]
        labels = [prompt.prior for prompt in curved]
        found |= {
            "best_validation_loss": by_label(labels, best, resampling=resampling),
            "common_loss": convergence.loss,
            "steps_to_common_loss": _steps_table(curved, convergence, resampling=resampling),
        }
    return found


def _steps_table(
    prompts: Sequence[TunedPrompt], convergence: StepsToLoss, *, resampling: Resampling
) -> dict[str, dict[str, float]]:
    """By prior: steps of the prompts that reach the common loss, and ``n_never``, the number that do not."""
    steps: dict[str, list[float]] = {}
    for prompt in prompts:
        steps.setdefault(prompt.prior, []).append(convergence.steps[prompt.ref])
    return {
        prior: {
            **(
                summary([value for value in values if np.isfinite(value)], resampling=resampling)
                if np.isfinite(values).any()
                else {}
            ),
            "n_never": float(np.isinf(values).sum()),
        }
        for prior, values in steps.items()
    }


def _alike(table: Mapping[str, Any]) -> bool | None:
    if has_few(table["by_prior"]):
        return None
    if table["spread_of_means"] <= TOLERANCE:
        return True
    return False if is_significant(table["differs_by_prior"]) else None


def _correlate_distance_and_steps(
    groups: Mapping[str, Sequence[TunedPrompt]], collapse: Mapping[str, Mapping[str, Any]], *, resampling: Resampling
) -> dict[str, float] | None:
    """Rank correlation within groups of a draw's distance from the model's cloud and the steps to the common loss."""
    rows: list[tuple[str, float, float]] = []
    for name, group in groups.items():
        convergence = steps_to_common_loss(group)
        for prompt in group:
            distance = collapse.get(prompt.ref, {}).get("draw_mahalanobis")
            if convergence is not None and prompt.ref in convergence.steps and distance is not None:
                # Only ranks matter, so a very large number represents "never".
                rows.append((name, float(distance), min(convergence.steps[prompt.ref], 1e18)))
    names, distances, steps = [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
    return spearman(names, distances, steps, resampling=resampling)


def _is_interpolation(prompt: TunedPrompt) -> bool:
    return prompt.prior.startswith("interpolation")


def _comparison(
    ours: Sequence[TunedPrompt], others: Sequence[TunedPrompt], *, resampling: Resampling
) -> dict[str, Any]:
    means = by_label([prompt.prior for prompt in others], _values(others), resampling=resampling)
    labels = ["interpolation"] * len(ours) + ["other"] * len(others)
    return {
        "interpolation": summary(_values(ours), resampling=resampling),
        "median_of_other_priors": float(np.median([row["value"] for row in means.values()])),
        "others": means,
        "differs": kruskal_wallis([0] * len(labels), labels, [*_values(ours), *_values(others)], resampling=resampling),
    }


def _as_good(table: Mapping[str, Any]) -> bool | None:
    n_others = sum(row["n"] for row in table["others"].values())
    if min(table["interpolation"]["n"], n_others) < MIN_VALUES:
        return None
    if table["interpolation"]["value"] >= table["median_of_other_priors"] - TOLERANCE:
        return True
    return False if is_significant(table["differs"]) else None
