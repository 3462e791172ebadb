"""Doing shards, one after the other, beside others who do the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from service.errors import Conflict
from service.store.runs.records import Output
from workers.harvest.context import HarvestContext
from workers.harvest.plan import HarvestPlan, PlannedShard, batched
from workers.harvest.shards.store import ShardStore
from workers.harvest.shards.table import table_of
from workers.states.texts import Text

if TYPE_CHECKING:
    from service.store.datasets.items import Example

Done = Callable[[PlannedShard, Output], None]
"""Told of each shard that this worker has written."""


class ShardWork:
    """One worker's share of a harvest.

    Args:
        job: what to read.
        plan: which texts each shard holds.
        store: where shards go.
    """

    def __init__(self, job: HarvestContext, *, plan: HarvestPlan, store: ShardStore) -> None:
        self._job = job
        self._plan = plan
        self._store = store

    def go_through(self, wanted: Collection[int], *, before: Callable[[], bool], done: Done) -> None:
        """Do those of the wanted shards that nobody else has, in order, reading the dataset once at most.

        Args:
            before: called before each; False ends it.
            done: told of each that this worker has written.
        """
        records = _Records(self._job.examples)
        for shard in self._plan.shards:
            if shard.number not in wanted:
                continue
            if not before():
                return
            with self._mine(shard) as is_mine:
                if is_mine:
                    done(shard, self._do(shard, records))

    @contextmanager
    def _mine(self, shard: PlannedShard) -> Iterator[bool]:
        """Whether this worker is to do the shard now: nobody else has it, and it is not there yet."""
        with self._job.place.coordinator.lease(str(shard.number)) as has_it:
            yield has_it and self._store.find(shard.number) is None

    def _do(self, shard: PlannedShard, records: _Records) -> Output:
        texts = self._texts(shard, records)
        rows = self._job.reading.read(texts, longest=self._plan.longest)
        self._job.place.check()
        table = table_of(rows, shard=shard, reading=self._job.reading, run_id=self._job.place.run_id)
        return self._store.put(shard.number, table)

    def _texts(self, shard: PlannedShard, records: _Records) -> list[Text]:
        texts: list[Text] = []
        for batch in batched(records.take(shard.first_example, shard.n_examples)):
            self._job.place.check()
            texts += [text for text in self._job.reading.encode(batch) if text is not None]
        if len(texts) != shard.n_texts:
            raise Conflict(
                f"Shard {shard.number} was planned with {shard.n_texts} texts and has {len(texts)}: what makes tokens of "
                "them has changed since this run began; start a new one."
            )
        return texts


class _Records:
    """Goes forward through a dataset; it is not opened before something of it is needed."""

    def __init__(self, begin: Callable[[], Iterator[Example]]) -> None:
        self._begin = begin
        self._left: Iterator[Example] | None = None
        self._at = 0

    def take(self, first: int, n: int) -> Iterator[Example]:
        """Records ``first`` … ``first + n − 1``, none of which was passed yet."""
        if self._left is None:
            self._left = self._begin()
        n_skipped = first - self._at
        self._at = first + n
        return islice(self._left, n_skipped, n_skipped + n)
