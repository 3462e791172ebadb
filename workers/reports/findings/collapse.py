"""Finding 3: whether tuned vectors collapse onto token embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from workers.reports.evidence.evidence import Evidence, TunedPrompt
from workers.reports.findings.result import FindingResult, judge, not_measured
from workers.reports.findings.statistics import (
    MIN_VALUES,
    Resampling,
    by_label,
    by_method_and_rate,
    is_significant,
    kruskal_wallis,
    summary,
)

TITLE = "Collapse onto existing tokens is not inevitable: it depends on prior and learning rate"
RULE = (
    "A prompt is collapsed if at least half of its vectors are within the neighbour radius of their nearest token (above "
    "the embedding layer: of their nearest state). Parts: (a) for some prior of two or more prompts, no prompt is "
    "collapsed (open if such priors have one prompt only); (b) the cosine to the nearest token differs between priors "
    "among prompts with equal method, task and learning rate; (c) it differs between learning rates among prompts with "
    "equal method, task and prior (Kruskal-Wallis tests summed over groups, permutation p-values below 0.05)."
)
MEASURES = ("share_within_radius", "nearest_distance", "nearest_cosine", "effective_rank", "mean_pairwise_distance")


def finding_collapse(
    evidence: Evidence, collapse: Mapping[str, Mapping[str, Any]], *, resampling: Resampling
) -> FindingResult:
    """Finding 3: collapse onto tokens depends on prior and learning rate."""
    prompts = [prompt for prompt in evidence.prompts if prompt.ref in collapse]
    if not prompts:
        return not_measured(3, title=TITLE, rule=RULE, missing="a soft or deep prompt")
    shares = [float(collapse[prompt.ref]["share_within_radius"]) for prompt in prompts]
    collapsed = [share >= 0.5 for share in shares]
    priors_without_collapse = sorted(
        {p.prior for p in prompts}
        - {p.prior for p, is_collapsed in zip(prompts, collapsed, strict=True) if is_collapsed}
    )
    cosines = [float(collapse[prompt.ref]["nearest_cosine"]) for prompt in prompts]
    by_prior = kruskal_wallis([p.group for p in prompts], [p.prior for p in prompts], cosines, resampling=resampling)
    by_rate = kruskal_wallis(
        [(p.method, p.task, p.prior) for p in prompts], [_rate(p) for p in prompts], cosines, resampling=resampling
    )
    numbers = {
        "n_prompts": len(prompts),
        "n_collapsed": sum(collapsed),
        "priors_without_collapse": priors_without_collapse,
        "share_within_radius": summary(shares, resampling=resampling),
        "nearest_cosine_differs_by_prior": by_prior,
        "nearest_cosine_differs_by_rate": by_rate,
        "by_prior": by_method_and_rate(prompts, collapse, measures=MEASURES, resampling=resampling),
        "by_rate": _by_rate(prompts, collapse, resampling=resampling),
    }
    parts: dict[str, bool | None] = {"some prior does not collapse": _has_kept(priors_without_collapse, prompts)}
    # A test that could not be computed is not a part of the rule.
    tests = {"depends on the prior": is_significant(by_prior), "depends on the rate": is_significant(by_rate)}
    parts |= {name: shown for name, shown in tests.items() if shown is not None}
    return judge(3, title=TITLE, rule=RULE, parts=parts, numbers=numbers)


def _has_kept(priors_without_collapse: Sequence[str], prompts: Sequence[TunedPrompt]) -> bool | None:
    """Part (a); None if every prior without a collapsed prompt has one prompt only."""
    sizes = Counter(prompt.prior for prompt in prompts)
    if any(sizes[prior] >= MIN_VALUES for prior in priors_without_collapse):
        return True
    return None if priors_without_collapse else False


def _rate(prompt: TunedPrompt) -> str:
    return "unknown" if prompt.lr is None else f"{prompt.lr:g}"


def _by_rate(
    prompts: Sequence[TunedPrompt], collapse: Mapping[str, Mapping[str, Any]], *, resampling: Resampling
) -> dict[str, dict[str, Any]]:
    """Measures by learning rate, for each prior, method and task with several rates."""
    rates: dict[str, list[TunedPrompt]] = {}
    for prompt in prompts:
        rates.setdefault(f"{prompt.prior}, {prompt.method} for {prompt.task}", []).append(prompt)
    return {
        name: {
            measure: by_label([_rate(p) for p in own], [collapse[p.ref][measure] for p in own], resampling=resampling)
            for measure in MEASURES[:3]
        }
        for name, own in rates.items()
        if len({_rate(prompt) for prompt in own}) > 1
    }
