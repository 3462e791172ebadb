"""What shape the clouds of natural language have across layers. Finding 7."""

from __future__ import annotations

from typing import Any

import numpy as np

from workers.analysis.shape import (
    anisotropy,
    dip_test,
    gaussian_fit,
    intrinsic_dimension,
    projection_kurtosis,
    share_multimodal,
)
from workers.reports.evidence.evidence import Evidence, Floats
from workers.reports.evidence.measurement_cache import Once
from workers.reports.findings.answer import Answer, judged, not_measured
from workers.reports.findings.statistics import LEVEL, Budget

MAX_SHARE = 0.2
MAX_DIP = 0.0165
"""Of two Gaussians of equal weight, three standard deviations apart: between them the density is a third lower."""

LANGUAGE = 0.5
MIN_TOKENS = 40

TITLE = "The activation cloud of natural language stays unimodal across layers, and a Gaussian fits it badly"
RULE = (
    "On states of tokens of the datasets of natural language (of what is no blank in their texts, at least "
    f"{LANGUAGE:.0%} are letters), at all layers. A cloud is unimodal in most directions when the dip test sees several "
    f"modes (p below {LEVEL:g}) along at most {MAX_SHARE:.0%} of random ones; unimodal along its first principal axis "
    f"when the dip there is at most {MAX_DIP:g}, that of two even Gaussians three standard deviations apart (of "
    "thousands of points any unevenness has a small p-value); peaked when the mean excess kurtosis of random "
    "projections is above 0 (low end of the interval); and no Gaussian when a mixture's gain in held-out "
    "log-likelihood is above 0 (low end). Parts: each of the four holds for most clouds."
)


def measure_shapes(evidence: Evidence, *, budget: Budget, once: Once) -> list[dict[str, Any]]:
    """One row a dataset and layer, on states of tokens."""
    rows: list[dict[str, Any]] = []
    for dataset, clouds in evidence.clouds.items():
        for layer in evidence.layers:
            points = clouds[layer].tokens
            if len(points) >= MIN_TOKENS:
                fields = {"dataset": dataset, "layer": layer, "n_tokens": len(points)}
                rows += once(
                    f"shape {dataset} {layer}",
                    lambda points=points, fields=fields: [  # type: ignore[misc]
                        {**fields, **_shape(points, budget=budget)}
                    ],
                )
    return rows


def finding_shape(evidence: Evidence, rows: list[dict[str, Any]]) -> Answer:
    """Finding 7: unimodal, and sharply peaked where a Gaussian is not."""
    letters = {name: wording.share_letters for name, wording in evidence.wordings.items()}
    own = [row for row in rows if letters[row["dataset"]] >= LANGUAGE]
    if not own:
        missing = f"a dataset of natural language with {MIN_TOKENS} tokens or more"
        return not_measured(7, title=TITLE, rule=RULE, missing=missing)
    holds = {
        "unimodal in most directions": [row["share_multimodal"] <= MAX_SHARE for row in own],
        "unimodal along the first axis": [row["dip"] <= MAX_DIP for row in own],
        "peaked": [row["kurtosis"]["low"] > 0 for row in own],
        "no Gaussian": [row["mixture_gain"]["low"] > 0 for row in own],
    }
    parts = {name: sum(found) * 2 > len(found) for name, found in holds.items()}
    numbers = {
        "n_clouds": len(own),
        "shares": {name: sum(found) / len(found) for name, found in holds.items()},
        "share_letters": letters,
        "by_dataset": {name: _medians([row for row in rows if row["dataset"] == name]) for name in letters},
    }
    return judged(7, title=TITLE, rule=RULE, parts=parts, numbers=numbers)


def _medians(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """Over layers, of what a shape is told by."""
    if not rows:
        return {}
    of = {
        "share_multimodal": [row["share_multimodal"] for row in rows],
        "dip": [row["dip"] for row in rows],
        "kurtosis": [row["kurtosis"]["value"] for row in rows],
        "mixture_gain": [row["mixture_gain"]["value"] for row in rows],
        "intrinsic_dimension": [row["intrinsic_dimension"] for row in rows if row["intrinsic_dimension"] is not None],
    }
    return {name: float(np.median(values)) if values else None for name, values in of.items()}


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
