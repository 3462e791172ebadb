"""A dataset with splits, ready for upload, and the seeded split by groups."""

import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from promptatlas import Client
from promptatlas.types import DatasetManifest, Split

Record = Mapping[str, Any]
Group = TypeVar("Group", bound=Hashable)

SHARES: Final[Mapping[Split, float]] = {"validation": 0.1, "test": 0.2}
"""Shares of the groups; the rest is the training split."""


@dataclass(frozen=True, kw_only=True)
class RealDataset:
    """Records with their splits.

    records: each has ``split``, and the fields of the template or ``text``. template: ``input`` and ``target``; None for running
    text. n_left_out: records of the source that were not used.
    """

    name: str
    records: tuple[Record, ...] = field(repr=False)
    template: Mapping[str, str] | None = None
    n_left_out: int = 0

    def of(self, split: Split) -> tuple[Record, ...]:
        """The records of a split."""
        return tuple(record for record in self.records if record["split"] == split)

    def text(self, record: Record) -> tuple[str, str]:
        """Input and target of a record, as the model reads them; running text has an empty input."""
        if self.template is None:
            return "", str(record["text"])
        return self.template["input"].format_map(record), self.template["target"].format_map(record)

    def upload(self, client: Client) -> DatasetManifest:
        """Store the dataset on the server. The same dataset again is no error.

        Raises:
            ConflictError: the server has another dataset with this name.
        """
        return client.datasets.upload(self.name, records=self.records, template=self.template)


def split_groups(groups: Sequence[Group], *, seed: int) -> dict[Group, Split]:
    """Assign each distinct group to a split at random, with at least one group in each split.

    Records of one group (an article, the operands of a sum) are in one split, so that nothing of a test record is trained on.

    Raises:
        ValueError: fewer than three distinct groups.
    """
    distinct = list(dict.fromkeys(groups))
    if len(distinct) < len(SHARES) + 1:
        raise ValueError(f"expected at least {len(SHARES) + 1} groups to split, got {len(distinct)}")
    random.Random(seed).shuffle(distinct)
    splits: dict[Group, Split] = {}
    for split, share in SHARES.items():
        n = max(1, round(share * len(distinct)))
        splits |= dict.fromkeys(distinct[len(splits) : len(splits) + n], split)
    return splits | dict.fromkeys(distinct[len(splits) :], "train")


def shuffled(records: Sequence[Record], *, seed: int) -> tuple[Record, ...]:
    """The records in a seeded order: sources are sorted by topic and level, and a preview shows the first records."""
    return tuple(random.Random(seed).sample(records, len(records)))
