"""Do tuned vectors fall onto tokens. Finding 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workers.reports.evidence.evidence import Evidence, Tuned
from workers.reports.findings.answer import Answer, judged, not_measured
from workers.reports.findings.statistics import Budget, by_label, by_manner, differs, is_shown, summary

TITLE = "Collapse onto existing tokens is not inevitable: it depends on prior and learning rate"
RULE = (
    "A prompt has collapsed when half of its vectors or more lie within the neighbour radius of their nearest token "
    "(at layers above the embeddings: of their nearest state). Parts: (a) there is a prior none of whose prompts have "
    "collapsed; (b) the cosine to the nearest token differs by prior among prompts of one method, task and rate; (c) it "
    "differs by rate among prompts of one method, task and prior (Kruskal-Wallis tests summed over groups, permutation "
    "p-values below 0.05)."
)
MEASURES = ("share_within_radius", "nearest_distance", "nearest_cosine", "effective_rank", "mean_pairwise_distance")


def finding_collapse(evidence: Evidence, collapse: Mapping[str, Mapping[str, Any]], *, budget: Budget) -> Answer:
    """Finding 3: collapse onto tokens is not inevitable."""
    prompts = [prompt for prompt in evidence.prompts if prompt.ref in collapse]
    if not prompts:
        return not_measured(3, title=TITLE, rule=RULE, missing="a soft or deep prompt")
    shares = [float(collapse[prompt.ref]["share_within_radius"]) for prompt in prompts]
    collapsed = [share >= 0.5 for share in shares]
    open_priors = sorted(
        {p.prior for p in prompts} - {p.prior for p, fell in zip(prompts, collapsed, strict=True) if fell}
    )
    cosines = [float(collapse[prompt.ref]["nearest_cosine"]) for prompt in prompts]
    by_prior = differs([p.group for p in prompts], [p.prior for p in prompts], cosines, budget=budget)
    by_rate = differs(
        [(p.method, p.task, p.prior) for p in prompts], [_rate(p) for p in prompts], cosines, budget=budget
    )
    numbers = {
        "n_prompts": len(prompts),
        "n_collapsed": sum(collapsed),
        "priors_without_collapse": open_priors,
        "share_within_radius": summary(shares, budget=budget),
        "nearest_cosine_differs_by_prior": by_prior,
        "nearest_cosine_differs_by_rate": by_rate,
        "by_prior": by_manner(prompts, collapse, measures=MEASURES, budget=budget),
        "by_rate": _by_rate(prompts, collapse, budget=budget),
    }
    parts: dict[str, bool | None] = {"some prior does not collapse": bool(open_priors)}
    # Tests that could not be made are no part: the report was not given what they take.
    tests = {"depends on the prior": is_shown(by_prior), "depends on the rate": is_shown(by_rate)}
    parts |= {name: shown for name, shown in tests.items() if shown is not None}
    return judged(3, title=TITLE, rule=RULE, parts=parts, numbers=numbers)


def _rate(prompt: Tuned) -> str:
    return "unknown" if prompt.lr is None else f"{prompt.lr:g}"


def _by_rate(
    prompts: Sequence[Tuned], collapse: Mapping[str, Mapping[str, Any]], *, budget: Budget
) -> dict[str, dict[str, Any]]:
    """By prior that was tuned at several rates for one task with one method: the measures by rate."""
    rates: dict[str, list[Tuned]] = {}
    for prompt in prompts:
        rates.setdefault(f"{prompt.prior}, {prompt.method} for {prompt.task}", []).append(prompt)
    return {
        name: {
            measure: by_label([_rate(p) for p in own], [collapse[p.ref][measure] for p in own], budget=budget)
            for measure in MEASURES[:3]
        }
        for name, own in rates.items()
        if len({_rate(prompt) for prompt in own}) > 1
    }
