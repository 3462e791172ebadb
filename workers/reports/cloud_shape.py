"""What shape the clouds of natural language have across layers. Finding 7."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workers.analysis.shape import (
    anisotropy,
    dip_test,
    gaussian_fit,
    intrinsic_dimension,
    projection_kurtosis,
    share_multimodal,
)
from workers.reports.answer import Answer, not_measured, verdict_of
from workers.reports.evidence import Evidence, Floats
from workers.reports.numbers import Budget

LEVEL = 0.05
MAX_SHARE = 0.2

SHAPE_RULE = (
    "Over all datasets and layers, on states of tokens: a cloud is unimodal when the dip test sees several modes "
    f"along at most {MAX_SHARE:.0%} of random directions, peaked when the mean excess kurtosis of random "
    "projections is above 0 (low end of the interval), and no Gaussian when a mixture's gain in held-out "
    "log-likelihood is above 0 (low end). Confirmed when each of the three holds for most clouds; contradicted "
    "when none does."
)


def measure_shapes(evidence: Evidence, *, budget: Budget, check: Callable[[], None]) -> list[dict[str, Any]]:
    """One row a dataset and layer, on states of tokens."""
    rows = []
    for dataset, clouds in evidence.clouds.items():
        for layer in evidence.layers:
            check()
            points = clouds[layer].tokens
            if len(points) >= 40:
                rows.append(
                    {"dataset": dataset, "layer": layer, "n_tokens": len(points), **_shape(points, budget=budget)}
                )
    return rows


def finding_shape(rows: list[dict[str, Any]]) -> Answer:
    """Finding 7: unimodal, and sharply peaked where a Gaussian is not."""
    title = "The activation cloud stays unimodal across layers, and a Gaussian fits it badly"
    if not rows:
        return not_measured(7, title=title, rule=SHAPE_RULE, missing="a dataset with 40 tokens or more")
    unimodal = [row["share_multimodal"] <= MAX_SHARE for row in rows]
    peaked = [row["kurtosis"]["low"] > 0 for row in rows]
    no_gaussian = [row["mixture_gain"]["low"] > 0 for row in rows]
    shares = {"unimodal": unimodal, "peaked": peaked, "no_gaussian": no_gaussian}
    holds = [sum(found) * 2 > len(found) for found in shares.values()]
    verdict = verdict_of(for_it=sum(holds), against_it=len(holds) - sum(holds))
    numbers = {"n_clouds": len(rows), **{f"share_{name}": sum(found) / len(found) for name, found in shares.items()}}
    return Answer(number=7, title=title, rule=SHAPE_RULE, verdict=verdict, numbers=numbers)


def _shape(points: Floats, *, budget: Budget) -> dict[str, Any]:
    dip = dip_test(points)
    fit = gaussian_fit(points, samples=budget.samples, seed=budget.seed)
    try:
        dimension: float | None = intrinsic_dimension(points)
    except ValueError:
        dimension = None
    return {
        "kurtosis": projection_kurtosis(points, samples=budget.samples, seed=budget.seed).to_json(),
        "dip": dip.dip,
        "dip_p_value": dip.p_value,
        "share_multimodal": share_multimodal(points, seed=budget.seed, level=LEVEL),
        "gaussian": fit.gaussian,
        "mixture": fit.mixture,
        "mixture_gain": fit.gain.to_json(),
        "mixture_components": fit.n_components,
        "intrinsic_dimension": dimension,
        "anisotropy": anisotropy(points, seed=budget.seed),
    }
