"""Does the prior decide how well a prompt does in the end, and how soon. Findings 2 and 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workers.reports.answer import Answer, not_measured, verdict_of
from workers.reports.evidence import Evidence, Tuned
from workers.reports.numbers import Budget, by_label, differs_by_label, rank_correlation, spread_of_means, summary

SCORES = ("exact_match", "accuracy", "f1", "numeric_match")
SPLITS = ("test", "validation", "train")
TOLERANCE = 0.05

QUALITY_RULE = (
    "Over groups of prompts tuned by one method for one task, with two priors or more: confirmed when (a) in "
    f"every group the largest and the smallest mean score of a prior differ by at most {TOLERANCE:g}, and (b) over "
    "all prompts with a curve, steps to the group's common loss grow with the draw's Mahalanobis distance "
    "(Spearman's rho above 0, p below 0.05). Contradicted when neither holds."
)
INTERPOLATION_RULE = (
    "Confirmed when, in every group that has prompts of an interpolation prior and of others, the interpolation's "
    f"mean score is at most {TOLERANCE:g} below the mean of the others. Contradicted when it is lower in every "
    "group."
)


def score_of(prompt: Tuned) -> tuple[str, float] | None:
    """The first score that a prompt's manifest has, by name; None where it has none."""
    for split in SPLITS:
        for name in SCORES:
            if (value := prompt.metrics.get(f"{split}/{name}")) is not None:
                return f"{split}/{name}", float(value)
    return None


def groups_of(prompts: Sequence[Tuned]) -> dict[str, list[Tuned]]:
    """Prompts with a score, by method and task."""
    groups: dict[str, list[Tuned]] = {}
    for prompt in prompts:
        if score_of(prompt) is not None:
            groups.setdefault(prompt.group, []).append(prompt)
    return groups


def steps_to_common_loss(prompts: Sequence[Tuned]) -> tuple[float, dict[str, int]] | None:
    """The loss that every prompt with a curve reaches (the worst of their best), and by prompt the first step at it."""
    curved = [prompt for prompt in prompts if len(prompt.curve) > 1]
    if len(curved) < 2:
        return None
    common = max(min(loss for _, loss in prompt.curve) for prompt in curved)
    return common, {prompt.ref: next(step for step, loss in prompt.curve if loss <= common) for prompt in curved}


def finding_quality(evidence: Evidence, collapse: Mapping[str, Mapping[str, Any]], *, budget: Budget) -> Answer:
    """Finding 2: the prior does not decide the quality at the end, only the way there."""
    title = "Quality at the end does not depend on the prior; far starts take longer"
    groups = {name: group for name, group in groups_of(evidence.prompts).items() if len({p.prior for p in group}) > 1}
    if not groups:
        missing = "prompts of two priors or more, tuned by one method for one task, with a score in their metrics"
        return not_measured(2, title=title, rule=QUALITY_RULE, missing=missing)
    tables = {name: _group_table(group, budget=budget) for name, group in groups.items()}
    alike = all(table["spread_of_means"] <= TOLERANCE for table in tables.values())
    distances, steps = _starts(groups.values(), collapse)
    slower = rank_correlation(distances, steps)
    takes_longer = slower is not None and slower["rho"] > 0 and slower["p_value"] < 0.05
    checked = [alike] + ([takes_longer] if slower is not None else [])
    numbers = {"groups": tables, "distance_of_draw_and_steps": slower}
    verdict = verdict_of(for_it=sum(checked), against_it=len(checked) - sum(checked))
    return Answer(number=2, title=title, rule=QUALITY_RULE, verdict=verdict, numbers=numbers)


def finding_interpolation(evidence: Evidence, *, budget: Budget) -> Answer:
    """Finding 6: activations interpolated between domains still tune."""
    title = "Vectors interpolated between domains tune as well as others"
    tables: dict[str, Any] = {}
    for name, group in groups_of(evidence.prompts).items():
        ours = [score[1] for p in group if p.prior.startswith("interpolation") and (score := score_of(p))]
        others = [score[1] for p in group if not p.prior.startswith("interpolation") and (score := score_of(p))]
        if ours and others:
            tables[name] = {"interpolation": summary(ours, budget=budget), "others": summary(others, budget=budget)}
    if not tables:
        missing = "prompts of an interpolation prior beside prompts of another, with a score in their metrics"
        return not_measured(6, title=title, rule=INTERPOLATION_RULE, missing=missing)
    reached = [row["interpolation"]["value"] >= row["others"]["value"] - TOLERANCE for row in tables.values()]
    verdict = verdict_of(for_it=sum(reached), against_it=len(reached) - sum(reached))
    return Answer(number=6, title=title, rule=INTERPOLATION_RULE, verdict=verdict, numbers={"groups": tables})


def _group_table(group: Sequence[Tuned], *, budget: Budget) -> dict[str, Any]:
    scored = [(prompt.prior, score_of(prompt)) for prompt in group]
    labels = [prior for prior, _ in scored]
    values = [score[1] for _, score in scored if score is not None]
    table = by_label(labels, values, budget=budget)
    found: dict[str, Any] = {
        "score": scored[0][1][0] if scored[0][1] else None,
        "by_prior": table,
        "spread_of_means": spread_of_means(table),
        "differs_by_prior": differs_by_label(labels, values),
    }
    reached = steps_to_common_loss(group)
    if reached is not None:
        common, steps = reached
        curved = [prompt for prompt in group if prompt.ref in steps]
        taken = [float(steps[prompt.ref]) for prompt in curved]
        found |= {
            "common_loss": common,
            "steps_to_common_loss": by_label([prompt.prior for prompt in curved], taken, budget=budget),
        }
        final = [min(loss for _, loss in prompt.curve) for prompt in curved]
        found["best_validation_loss"] = by_label([prompt.prior for prompt in curved], final, budget=budget)
    return found


def _starts(
    groups: Any, collapse: Mapping[str, Mapping[str, Any]]
) -> tuple[list[float], list[float]]:  # fmt: skip
    """Distance of each draw from the model's cloud, and steps to the common loss as a share of the group's largest."""
    distances: list[float] = []
    steps: list[float] = []
    for group in groups:
        reached = steps_to_common_loss(group)
        if reached is None:
            continue
        largest = max(max(reached[1].values()), 1)
        for prompt in group:
            distance = collapse.get(prompt.ref, {}).get("draw_mahalanobis")
            if prompt.ref in reached[1] and distance is not None:
                distances.append(float(distance))
                steps.append(reached[1][prompt.ref] / largest)
    return distances, steps
