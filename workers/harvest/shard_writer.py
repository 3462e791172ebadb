"""Writer of shards: the share of one worker in a harvest."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from service.errors import Conflict
from service.map_sources.texts import Text
from service.store.runs.records import Output
from workers.harvest.context import HarvestContext
from workers.harvest.shards.plan import HarvestPlan, PlannedShard, batched
from workers.harvest.shards.store import ShardStore
from workers.harvest.shards.table import table_of
from workers.inputs.forward_records import ForwardRecords
from workers.running.shards.sharing import Before, Done, write_leased

if TYPE_CHECKING:
    from service.store.datasets.items import Example


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

    def write(self, wanted: Collection[int], *, before: Before, done: Done) -> None:
        """Write those of the wanted shards that no other worker has leased, in order, in one pass over the dataset.

        Args:
            before: Called before each shard; False ends the loop.
            done: Called after each shard that this worker has written.
        """
        records = ForwardRecords(self._job.examples)
        shards = {shard.number: shard for shard in self._plan.shards}
        write_leased(
            wanted,
            place=self._job.place,
            store=self._store,
            compute=lambda number: self._compute(shards[number], records),
            before=before,
            done=done,
        )

    def _compute(self, shard: PlannedShard, records: ForwardRecords[Example]) -> Output:
        texts = self._texts(shard, records)
        rows = self._job.reader.read(texts, longest=self._plan.longest)
        self._job.place.check()
        table = table_of(rows, shard=shard, reader=self._job.reader, run_id=self._job.place.run_id)
        stored = self._store.put(shard.number, table)
        self._job.place.count("harvest_rows", shard.n_rows)
        return stored

    def _texts(self, shard: PlannedShard, records: ForwardRecords[Example]) -> list[Text]:
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
