"""Finding 7: the shape of the states of natural language across layers."""

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
from workers.reports.evidence.measurement_cache import Cached
from workers.reports.findings.result import FindingResult, judge, not_measured
from workers.reports.findings.statistics import LEVEL, Resampling

MAX_SHARE = 0.2
MAX_DIP = 0.0165
"""Dip of two equally weighted Gaussians three standard deviations apart, whose density drops by a third in between."""

LANGUAGE = 0.5
MIN_TOKENS = 40

TITLE = "States of natural language are unimodal across layers and not Gaussian"
RULE = (
    "Measured on token states of the datasets of natural language (at least "
    f"{LANGUAGE:.0%} of their non-whitespace characters are letters), at all layers. A cloud is unimodal in most directions if "
    f"the dip test rejects unimodality (p below {LEVEL:g}) along at most {MAX_SHARE:.0%} of random directions. It is unimodal "
    f"along its first principal axis if the dip there is at most {MAX_DIP:g}, that of two equally weighted Gaussians three "
    "standard deviations apart (with thousands of points, p-values are small for any deviation). It is peaked if the mean excess "
    "kurtosis of random projections is above 0 (lower end of the interval). It is not Gaussian if a mixture has a higher "
    "held-out log-likelihood than one Gaussian (lower end of the interval). Parts: each of the four holds for most clouds."
)


def measure_shapes(evidence: Evidence, *, resampling: Resampling, cached: Cached) -> list[dict[str, Any]]:
    """One row per dataset and layer, on token states."""
    rows: list[dict[str, Any]] = []
    for dataset, clouds in evidence.clouds.items():
        for layer in evidence.layers:
            points = clouds[layer].tokens
            if len(points) >= MIN_TOKENS:
                fields = {"dataset": dataset, "layer": layer, "n_tokens": len(points)}
                rows += cached(
                    f"shape {dataset} {layer}",
                    lambda points=points, fields=fields: [  # type: ignore[misc]
                        {**fields, **_shape(points, resampling=resampling)}
                    ],
                )
    return rows


def finding_shape(evidence: Evidence, rows: list[dict[str, Any]]) -> FindingResult:
    """Finding 7: states of natural language are unimodal and not Gaussian."""
    letters = {name: found.share_letters for name, found in evidence.text_statistics.items()}
    own = [row for row in rows if letters[row["dataset"]] >= LANGUAGE]
    if not own:
        missing = f"a dataset of natural language with at least {MIN_TOKENS} tokens"
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
    return judge(7, title=TITLE, rule=RULE, parts=parts, numbers=numbers)


def _medians(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """Medians of the shape measures over layers."""
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


def _shape(points: Floats, *, resampling: Resampling) -> dict[str, Any]:
    dip = dip_test(points)
    fit = gaussian_fit(points, samples=resampling.samples, seed=resampling.seed)
    try:
        dimension: float | None = intrinsic_dimension(points)
    except ValueError:
        dimension = None
    return {
        "kurtosis": projection_kurtosis(points, samples=resampling.samples, seed=resampling.seed).to_json(),
        "dip": dip.dip,
        "dip_p_value": dip.p_value,
        "share_multimodal": share_multimodal(points, seed=resampling.seed, level=LEVEL),
        "gaussian": fit.gaussian,
        "mixture": fit.mixture,
        "mixture_gain": fit.gain.to_json(),
        "mixture_components": fit.n_components,
        "intrinsic_dimension": dimension,
        "anisotropy": anisotropy(points, seed=resampling.seed),
    }
