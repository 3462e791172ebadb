"""pass@k and majority@k of the samples of each item, with intervals over the items."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from workers.analysis.intervals import Interval, bootstrap_interval
from workers.evaluation.judgement import Judgement
from workers.evaluation.repeated_samples import default_ks, measures_of
from workers.generate.samples.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.store.datasets.items import Example

_BLANK = Judgement(answer=None, is_correct=False)
"""The judgement of a sample without text."""


class RepeatedMeasures:
    """Collects the measures of items under each prompt.

    Args:
        n: samples of each item under each prompt. Nothing is measured if it is 1.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._ks = default_ks(n)
        self._values: dict[int, dict[str, list[float]]] = {}

    def add(self, judged: Iterable[tuple[Trace, Judgement | None]], *, items: Mapping[int, Example]) -> None:
        """Add samples of whole items, in order, with their judgements; None for a sample without text.

        Items without a correct answer are left out.
        """
        if self._n == 1:
            return
        for (item, prompt), samples in groupby(judged, key=lambda pair: (pair[0].item, pair[0].prompt)):
            found = [judgement or _BLANK for _, judgement in samples]
            if items[item].answers and len(found) == self._n:
                values = self._values.setdefault(prompt, {})
                for name, value in measures_of(found, ks=self._ks).items():
                    values.setdefault(name, []).append(value)

    def intervals(self, prompt: int, *, samples: int, seed: int) -> dict[str, Interval]:
        """Means over the items under a prompt, with 95 % bootstrap intervals; empty if nothing was measured."""
        values = self._values.get(prompt, {})
        return {name: bootstrap_interval(own, samples=samples, seed=seed) for name, own in values.items()}
