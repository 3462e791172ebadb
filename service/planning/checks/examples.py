"""Checks of a dataset's examples: whether a split has enough of them, and whether they have answers."""

from __future__ import annotations

from collections.abc import Sequence

from promptatlas.types import Metric, Split, Template

from service.errors import InvalidRequest
from service.planning.checks.distinct import require_distinct
from service.planning.specs import Loc
from service.store.datasets.items import DatasetInfo, patterns_of

METRICS_OF_TEXT: tuple[Metric, ...] = ("loss", "perplexity")
"""The metrics of running text, which has no answers."""

_HELD_OUT: tuple[Split, ...] = ("test", "validation", "train")
"""By preference; ``train`` is last, because prompts are tuned on it."""


def has_answers(dataset: DatasetInfo, *, template: Template | None) -> bool:
    """Whether the examples have input and target, by a template of the spec or the dataset's default.

    Raises:
        InvalidRequest: at the template: it does not fit the records; or they need one and there is none.
    """
    return patterns_of(dataset, template=template) is not None


def check_split(dataset: DatasetInfo, *, split: Split, name: str, at: Loc, n_least: int = 1) -> int:
    """The number of examples of a split; InvalidRequest at ``at`` if it is less than ``n_least``."""
    n_examples = dataset.splits.get(split, 0)
    if n_examples < n_least:
        counts = ", ".join(f"{other} {n}" for other, n in dataset.splits.items()) or "none"
        raise InvalidRequest(
            f"Expected at least {n_least} in split {split!r} of {name[:80]!r}, got {n_examples}; its splits: {counts}.",
            loc=at,
        )
    return n_examples


def n_available(dataset: DatasetInfo, *, split: Split | None, name: str, at: Loc) -> int:
    """The number of examples of a split, None: of all splits; InvalidRequest at ``at`` if the split is empty."""
    return dataset.n_records if split is None else check_split(dataset, split=split, name=name, at=at)


def held_out_split(dataset: DatasetInfo) -> Split | None:
    """The split that is measured by default: the first of test, validation and train that has examples; None: none has."""
    return next((split for split in _HELD_OUT if dataset.splits.get(split, 0) > 0), None)


def check_metrics(metrics: Sequence[Metric], *, answers: bool, at: Loc) -> None:
    """Refuse metrics of answers if there are no answers, and repeated metrics; InvalidRequest at the index."""
    for i, metric in enumerate(metrics):
        if not answers and metric not in METRICS_OF_TEXT:
            raise InvalidRequest(
                f"{metric} compares answers, and running text has none; expected {' or '.join(METRICS_OF_TEXT)}, or a "
                "template that produces inputs and targets.",
                loc=(*at, i),
            )
    require_distinct(metrics, what="metrics", at=at)
