"""Writer of shards: the share of one worker in a harvest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from service.errors import Conflict
from service.map_sources.texts import Text
from service.store.runs.records import Output
from workers.harvest.context import HarvestContext
from workers.harvest.shards.plan import HarvestPlan, PlannedShard, batched
from workers.harvest.shards.store import ShardStore
from workers.harvest.shards.table import table_of

if TYPE_CHECKING:
    from service.store.datasets.items import Example

Done = Callable[[PlannedShard, Output], None]
"""Called with each shard that this worker has written."""


class ShardWriter:
    """Computes and stores shards, coordinated with other workers by leases.

    Args:
        job: Spec, dataset and model reader.
        plan: Texts of each shard.
        store: Destination of the shards.
    """

    def __init__(self, job: HarvestContext, *, plan: HarvestPlan, store: ShardStore) -> None:
        self._job = job
        self._plan = plan
        self._store = store

    def write(self, wanted: Collection[int], *, before: Callable[[], bool], done: Done) -> None:
        """Write those of the wanted shards that no other worker has leased, in order, in one pass over the dataset.

        Args:
            before: Called before each shard; False ends the loop.
            done: Called after each shard that this worker has written.
        """
        records = _Records(self._job.examples)
        for shard in self._plan.shards:
            if shard.number not in wanted:
                continue
            if not before():
                return
            with self._lease(shard) as is_leased:
                if is_leased:
                    done(shard, self._compute(shard, records))
                    self._job.place.count("harvest_rows", shard.n_rows)

    @contextmanager
    def _lease(self, shard: PlannedShard) -> Iterator[bool]:
        """Try to lease a shard; False if another worker has it or it is already stored."""
        with self._job.place.coordinator.lease(str(shard.number)) as has_lease:
            yield has_lease and self._store.find(shard.number) is None

    def _compute(self, shard: PlannedShard, records: _Records) -> Output:
        texts = self._texts(shard, records)
        rows = self._job.reader.read(texts, longest=self._plan.longest)
        self._job.place.check()
        table = table_of(rows, shard=shard, reader=self._job.reader, run_id=self._job.place.run_id)
        return self._store.put(shard.number, table)

    def _texts(self, shard: PlannedShard, records: _Records) -> list[Text]:
        texts: list[Text] = []
        for batch in batched(records.take(shard.first_example, shard.n_examples)):
            self._job.place.check()
            texts += [text for text in self._job.reader.encode(batch) if text is not None]
        if len(texts) != shard.n_texts:
            raise Conflict(
                f"Shard {shard.number} was planned with {shard.n_texts} texts and has {len(texts)}: tokenization "
                "changed since this run started. Start a new run."
            )
        return texts


class _Records:
    """Forward-only reader of a dataset, opened on first use."""

    def __init__(self, open_records: Callable[[], Iterator[Example]]) -> None:
        self._open = open_records
        self._remaining: Iterator[Example] | None = None
        self._position = 0

    def take(self, first: int, n: int) -> Iterator[Example]:
        """Records ``first`` … ``first + n − 1``; ``first`` must not be before records already taken."""
        if self._remaining is None:
            self._remaining = self._open()
        n_skipped = first - self._position
        self._position = first + n
        return islice(self._remaining, n_skipped, n_skipped + n)
