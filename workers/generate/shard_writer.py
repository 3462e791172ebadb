"""Writer of shards: the share of one worker in a ``generate`` run."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING

from service.errors import AtlasError, DamagedArtifact, NotFound
from service.store.runs.records import Output
from workers.generate.context import GenerateContext, shards_of
from workers.generate.plan import GeneratePlan
from workers.generate.samples.requests import requests_of
from workers.generate.shards import TraceShards, runs_with_key
from workers.inputs.forward_records import ForwardRecords
from workers.running.shards.sharing import Before, Done, write_leased

if TYPE_CHECKING:
    from service.store.datasets.items import Example


class ShardWriter:
    """Generates and stores shards, coordinated with other workers by leases.

    Args:
        job: Spec, dataset and model.
        plan: Items of each shard.
        store: Destination of the shards.
    """

    def __init__(self, job: GenerateContext, *, plan: GeneratePlan, store: TraceShards) -> None:
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
        write_leased(
            wanted,
            place=self._job.place,
            store=self._store,
            compute=lambda number: self._copy(number) or self._generate(number, records),
            before=before,
            done=done,
        )

    def _generate(self, number: int, records: ForwardRecords[Example]) -> Output:
        first, n_items = self._plan.items_of(number)
        job = self._job
        requests = [
            request
            for example in records.take(first, n_items)
            for request in requests_of(example, spec=job.spec, framing=job.framing)
        ]
        samples = job.source.generate(requests)
        job.place.check()
        job.place.count("generate_tokens", sum(trace.n_tokens for trace in samples.traces))
        return self._store.put(number, samples, header=self._plan.identity.header(k=job.spec.logprobs or 0))

    def _copy(self, number: int) -> Output | None:
        """Store the shard of an earlier run with the same samples; None if there is none."""
        for source in self._earlier:
            if source.find(number) is None:
                continue
            try:
                return self._store.copy(number, source=source)
            except (DamagedArtifact, NotFound):
                continue
        return None

    @cached_property
    def _earlier(self) -> list[TraceShards]:
        job = self._job
        if not job.spec.reuse:
            return []
        try:
            run_ids = list(runs_with_key(job.place.artifacts, key=self._plan.key, besides=job.place.run_id))
        except AtlasError:
            return []  # samples are generated instead
        return [shards_of(job.place, spec=job.spec, run_id=run_id) for run_id in run_ids]
