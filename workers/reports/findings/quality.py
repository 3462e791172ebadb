"""Does the prior decide how well a prompt does in the end, and how soon. Findings 2 and 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workers.reports.evidence.evidence import Evidence, Tuned
from workers.reports.findings.answer import Answer, judged, not_measured
from workers.reports.findings.statistics import (
    Budget,
    by_label,
    correlates,
    differs,
    is_shown,
    spread_of_means,
    summary,
)

SCORES = ("exact_match", "accuracy", "f1", "numeric_match")
SPLITS = ("test", "validation", "train")
TOLERANCE = 0.05
LEARNT = 0.1

GROUP_RULE = (
    f"Groups are prompts tuned by one method for one task at one rate, of which the best scores at least {LEARNT:g} above the "
    "model without a prompt: where nothing has been learnt, nothing is compared."
)
QUALITY_TITLE = "Quality at the end does not depend on the prior; far starts take longer"
QUALITY_RULE = (
    f"{GROUP_RULE} Parts: for each group (a) the mean scores of its priors are alike: the largest and the smallest differ by at "
    f"most {TOLERANCE:g}. It does not hold when they differ by more and scores differ by prior (Kruskal-Wallis, permutation "
    "p-value below 0.05); else it is open. And over all groups (b) steps to the group's common loss rise with the draw's "
    "Mahalanobis distance from the model's cloud (Spearman's rho within groups, one-sided permutation p-value below 0.05). The "
    "common loss is halfway, in logarithms, between the group's median first and median best validation loss; who never "
    "reaches it counts as slower than all others."
)
INTERPOLATION_TITLE = "Vectors interpolated between domains tune as well as others"
INTERPOLATION_RULE = (
    f"{GROUP_RULE} Parts: for each group with prompts of an interpolation prior and of others, the interpolation's mean "
    f"score is at most {TOLERANCE:g} below the median of the other priors' mean scores. It does not hold when it is lower "
    "and the scores of interpolations and others differ (Kruskal-Wallis, permutation p-value below 0.05); else it is open."
)


@dataclass(frozen=True, kw_only=True)
class Race:
    """Steps of each prompt, by reference, to a loss (nats) that is common to them; infinite where it was never reached."""

    loss: float
    steps: Mapping[str, float]


def score_of(prompt: Tuned) -> tuple[str, float] | None:
    """The first score that a prompt's manifest has, by name; None where it has none."""
    for split in SPLITS:
        for name in SCORES:
            if (value := prompt.metrics.get(f"{split}/{name}")) is not None:
                return f"{split}/{name}", float(value)
    return None


def groups_of(prompts: Sequence[Tuned]) -> dict[str, list[Tuned]]:
    """Prompts with a score that may be compared with one another."""
    groups: dict[str, list[Tuned]] = {}
    for prompt in prompts:
        if score_of(prompt) is not None:
            groups.setdefault(prompt.group, []).append(prompt)
    return groups


def race(prompts: Sequence[Tuned]) -> Race | None:
    """How soon prompts with a curve came halfway; None with fewer than two, or when none came below where it began."""
    curved = [prompt for prompt in prompts if len(prompt.curve) > 1]
    if len(curved) < 2:
        return None
    first = float(np.median([prompt.curve[0][1] for prompt in curved]))
    best = float(np.median([min(loss for _, loss in prompt.curve) for prompt in curved]))
    if not 0 < best < first:
        return None
    halfway = float(np.sqrt(first * best))
    steps = {
        prompt.ref: float(next((step for step, loss in prompt.curve if loss <= halfway), np.inf)) for prompt in curved
    }
    return Race(loss=halfway, steps=steps)


def finding_quality(evidence: Evidence, collapse: Mapping[str, Mapping[str, Any]], *, budget: Budget) -> Answer:
    """Finding 2: the prior does not decide the quality at the end, only the way there."""
    groups = {
        name: group for name, group in _learnt_groups(evidence.prompts).items() if len({p.prior for p in group}) > 1
    }
    if not groups:
        missing = (
            "prompts of two priors or more, tuned by one method for one task, with a score in their metrics that "
            f"is at least {LEARNT:g} above the bare model's"
        )
        return not_measured(2, title=QUALITY_TITLE, rule=QUALITY_RULE, missing=missing)
    tables = {name: _group_table(group, budget=budget) for name, group in groups.items()}
    parts: dict[str, bool | None] = {f"alike: {name}": _alike(table) for name, table in tables.items()}
    slower = _slower(groups, collapse, budget=budget)
    if slower is not None:
        parts["far starts take longer"] = slower["rho"] > 0 and is_shown(slower)
    numbers = {"distance_of_draw_and_steps": slower, "groups": tables}
    return judged(2, title=QUALITY_TITLE, rule=QUALITY_RULE, parts=parts, numbers=numbers)


def finding_interpolation(evidence: Evidence, *, budget: Budget) -> Answer:
    """Finding 6: activations interpolated between domains still tune."""
    tables: dict[str, Any] = {}
    for name, group in _learnt_groups(evidence.prompts).items():
        ours = [prompt for prompt in group if _is_interpolation(prompt)]
        others = [prompt for prompt in group if not _is_interpolation(prompt)]
        if ours and others:
            tables[name] = _held_against(ours, others, budget=budget)
    if not tables:
        missing = (
            "prompts of an interpolation prior beside prompts of another, with a score in their metrics that is at "
            f"least {LEARNT:g} above the bare model's"
        )
        return not_measured(6, title=INTERPOLATION_TITLE, rule=INTERPOLATION_RULE, missing=missing)
    parts = {f"as good: {name}": _as_good(table) for name, table in tables.items()}
    return judged(6, title=INTERPOLATION_TITLE, rule=INTERPOLATION_RULE, parts=parts, numbers={"groups": tables})


def _learnt_groups(prompts: Sequence[Tuned]) -> dict[str, list[Tuned]]:
    found = {}
    for name, group in groups_of(prompts).items():
        scores = [
            (score, prompt.metrics.get(f"bare/{score[0]}", 0.0)) for prompt in group if (score := score_of(prompt))
        ]
        if max(score[1] - bare for score, bare in scores) >= LEARNT:
            found[name] = group
    return found


def _values(prompts: Sequence[Tuned]) -> list[float]:
    return [score[1] for prompt in prompts if (score := score_of(prompt)) is not None]


def _group_table(group: Sequence[Tuned], *, budget: Budget) -> dict[str, Any]:
    labels, values = [prompt.prior for prompt in group], _values(group)
    table = by_label(labels, values, budget=budget)
    score = score_of(group[0])
    found: dict[str, Any] = {
        "score": score[0] if score else None,
        "by_prior": table,
        "spread_of_means": spread_of_means(table),
        "differs_by_prior": differs([0] * len(group), labels, values, budget=budget),
    }
    ran = race(group)
    if ran is not None:
        curved = [prompt for prompt in group if prompt.ref in ran.steps]
        best = [min(loss for _, loss in prompt.curve) for prompt in curved]
        labels = [prompt.prior for prompt in curved]
        found |= {
            "best_validation_loss": by_label(labels, best, budget=budget),
            "common_loss": ran.loss,
            "steps_to_common_loss": _steps_table(curved, ran, budget=budget),
        }
    return found


def _steps_table(prompts: Sequence[Tuned], ran: Race, *, budget: Budget) -> dict[str, dict[str, float]]:
    """By prior: steps of those who came to the common loss, and ``n_never``, how many did not."""
    steps: dict[str, list[float]] = {}
    for prompt in prompts:
        steps.setdefault(prompt.prior, []).append(ran.steps[prompt.ref])
    return {
        prior: {
            **(summary([one for one in taken if np.isfinite(one)], budget=budget) if np.isfinite(taken).any() else {}),
            "n_never": float(np.isinf(taken).sum()),
        }
        for prior, taken in steps.items()
    }


def _alike(table: Mapping[str, Any]) -> bool | None:
    if table["spread_of_means"] <= TOLERANCE:
        return True
    return False if is_shown(table["differs_by_prior"]) else None


def _slower(
    groups: Mapping[str, Sequence[Tuned]], collapse: Mapping[str, Mapping[str, Any]], *, budget: Budget
) -> dict[str, float] | None:
    """Distance of each draw from the model's cloud against its steps to the common loss, within groups."""
    rows: list[tuple[str, float, float]] = []
    for name, group in groups.items():
        ran = race(group)
        for prompt in group:
            distance = collapse.get(prompt.ref, {}).get("draw_mahalanobis")
            if ran is not None and prompt.ref in ran.steps and distance is not None:
                # Ranks are all that counts, so any number above all others stands for never.
                rows.append((name, float(distance), min(ran.steps[prompt.ref], 1e18)))
    names, distances, steps = [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
    return correlates(names, distances, steps, budget=budget)


def _is_interpolation(prompt: Tuned) -> bool:
    return prompt.prior.startswith("interpolation")


def _held_against(ours: Sequence[Tuned], others: Sequence[Tuned], *, budget: Budget) -> dict[str, Any]:
    means = by_label([prompt.prior for prompt in others], _values(others), budget=budget)
    labels = ["interpolation"] * len(ours) + ["other"] * len(others)
    return {
        "interpolation": summary(_values(ours), budget=budget),
        "median_of_other_priors": float(np.median([row["value"] for row in means.values()])),
        "others": means,
        "differs": differs([0] * len(labels), labels, [*_values(ours), *_values(others)], budget=budget),
    }


def _as_good(table: Mapping[str, Any]) -> bool | None:
    if table["interpolation"]["value"] >= table["median_of_other_priors"] - TOLERANCE:
        return True
    return False if is_shown(table["differs"]) else None
