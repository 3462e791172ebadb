"""Do a dataset's examples serve the purpose: are there any in a split, and do they have answers."""

from __future__ import annotations

from collections.abc import Sequence

from promptatlas.types import Metric, Split, Template

from service.errors import InvalidRequest
from service.planning.specs import Loc
from service.store.datasets.items import DatasetInfo, patterns_of

METRICS_OF_TEXT: tuple[Metric, ...] = ("loss", "perplexity")
"""All that can be measured on running text, which has no answers."""


def has_answers(dataset: DatasetInfo, *, template: Template | None) -> bool:
    """Whether the examples have input and target, by a template of the spec or the dataset's own.

    Raises:
        InvalidRequest: at the template: it does not fit the records; or they need one and there is none.
    """
    return patterns_of(dataset, template=template) is not None


def check_split(dataset: DatasetInfo, *, split: Split, name: str, at: Loc, n_least: int = 1) -> int:
    """How many examples a split has; InvalidRequest at ``at`` when they are fewer than ``n_least``."""
    n_examples = dataset.splits.get(split, 0)
    if n_examples < n_least:
        counts = ", ".join(f"{other} {n}" for other, n in dataset.splits.items()) or "none"
        raise InvalidRequest(
            f"Expected at least {n_least} in split {split!r} of {name[:80]!r}, got {n_examples}; its splits: {counts}.",
            loc=at,
        )
    return n_examples


def check_metrics(metrics: Sequence[Metric], *, answers: bool, at: Loc) -> None:
    """Refuse metrics of answers where there are none, and one that stands twice; InvalidRequest at its index."""
    for i, metric in enumerate(metrics):
        if not answers and metric not in METRICS_OF_TEXT:
            raise InvalidRequest(
                f"{metric} compares answers, and running text has none: ask for {' or '.join(METRICS_OF_TEXT)}, or give "
                "a template that makes inputs and targets.",
                loc=(*at, i),
            )
        if metric in metrics[:i]:
            raise InvalidRequest(f"{metric} stands twice.", loc=(*at, i))
