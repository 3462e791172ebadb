"""Summary of an evaluation: the mean of each metric with a bootstrap interval over examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workers.analysis.intervals import mean_interval
from workers.evaluation.example_rows import ExampleRow

MAX_EXPONENT = 700.0
"""Largest exponent of a perplexity that is still a finite float."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Mean of a metric over ``n`` examples; low and high are its 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float]:
        return dict(vars(self))


class Summary:
    """Scores of each label by ``{split}/{metric}``.

    A metric without values is left out; so is the loss if it is not finite for some example.
    """

    def __init__(self, rows: Sequence[ExampleRow], *, metrics: Sequence[str], samples: int, seed: int) -> None:
        self._samples = samples
        self._seed = seed
        grouped: dict[tuple[str, str], list[ExampleRow]] = {}
        for row in rows:
            grouped.setdefault((row.label, row.split), []).append(row)
        self._p95: dict[str, dict[str, float]] = {}
        self._scores: dict[str, dict[str, Score]] = {}
        for (label, split), own in grouped.items():
            named = {f"{split}/{metric}": self._score(own, metric) for metric in metrics}
            self._scores.setdefault(label, {}).update({k: v for k, v in named.items() if v is not None})
            if values := [row.scores["n_generated"] for row in own if "n_generated" in row.scores]:
                high = float(np.percentile(values, 95))
                self._p95.setdefault(label, {})[f"{split}/n_generated_p95"] = high

    def of(self, label: str) -> Mapping[str, Score]:
        """Scores of one label by ``{split}/{metric}``; empty if the label has no rows."""
        return self._scores.get(label, {})

    def flat(self, label: str, *, prefix: str = "") -> dict[str, float]:
        """``{prefix}{split}/{metric}`` with ``…_low`` and ``…_high``, as stored in manifests and runs.

        Of generated tokens that were counted, also the 95th percentile, ``…/n_generated_p95``.
        """
        numbers: dict[str, float] = {}
        for name, score in self.of(label).items():
            numbers[f"{prefix}{name}"] = score.value
            numbers[f"{prefix}{name}_low"], numbers[f"{prefix}{name}_high"] = score.low, score.high
        numbers |= {f"{prefix}{name}": value for name, value in self._p95.get(label, {}).items()}
        return numbers

    def _score(self, rows: Sequence[ExampleRow], metric: str) -> Score | None:
        if metric in ("loss", "perplexity"):
            loss = self._loss(rows)
            return _perplexity(loss) if loss is not None and metric == "perplexity" else loss
        values = [row.scores[metric] for row in rows if metric in row.scores]
        return self._mean(values) if values else None

    def _loss(self, rows: Sequence[ExampleRow]) -> Score | None:
        """Mean nats per token over all target tokens, so long targets have a larger weight."""
        if any(row.loss is None for row in rows):
            return None
        values = [row.loss for row in rows if row.loss is not None]
        return self._mean(values, weights=[float(row.n_tokens) for row in rows])

    def _mean(self, values: Sequence[float], *, weights: Sequence[float] | None = None) -> Score:
        shares = weights or [1.0] * len(values)
        mean = math.fsum(v * w for v, w in zip(values, shares, strict=True)) / math.fsum(shares)
        low, high = mean_interval(values, samples=self._samples, seed=self._seed, weights=weights)
        return Score(value=mean, low=low, high=high, n=len(values))


def _perplexity(loss: Score) -> Score:
    value, low, high = (math.exp(min(nats, MAX_EXPONENT)) for nats in (loss.value, loss.low, loss.high))
    return Score(value=value, low=low, high=high, n=loss.n)
