"""Runs of kind ``generate`` kept in memory, with real stores and a small model; and what they store, read back."""

from __future__ import annotations

from typing import Any

from promptatlas.types.generation import GenerateSpec

from service.settings import Settings
from service.store.datasets.items import StoredRecord
from service.store.datasets.traces.store import TopTokensReader, TraceStore
from tests.oracle.models import EOS
from tests.oracle.runs import oracle_generate
from tests.workers.harvest.field import FakeCoordinator, Field, SharedFakeRun, words_of
from workers.generate.samples.trace import Trace
from workers.generate.shards import TraceShards

SPECIAL = (0, EOS)
"""Tokens that no text shows."""


class SmallGeneration(Field):
    """A store with a dataset ``words`` of eleven items and some prompts."""

    def run(self, *, run_id: str = "run-1", coordinator: FakeCoordinator | None = None, **spec: Any) -> SharedFakeRun:
        """A run; by default of one greedy sample an item, three items a shard."""
        known = {"model": "small", "dataset": "words", "name": "made", "max_tokens": 6, "temperature": 0.0}
        known |= {"shard_samples": 3 * spec.get("n", 1) * len(spec.get("prompt_refs", [None]))}
        complete = GenerateSpec.model_validate({**known, "metric": "exact_match", **spec})
        run = SharedFakeRun(
            complete.model_dump(mode="json"),
            {"small": self.world.hosted},
            self.artifacts,
            self.datasets,
            run_id=run_id,
            settings=Settings(),
        )
        run.coordinator = coordinator or FakeCoordinator()
        return run

    def records(self, name: str = "made") -> list[StoredRecord]:
        """The records of a dataset, in order."""
        info = self.datasets.get(name)
        found = [
            StoredRecord(index=example.index, split=example.split, fields=example.record)
            for example in self.datasets.examples(name)
        ]
        assert len(found) == info.n_records
        return found

    def fields(self, field: str, name: str = "made") -> list[Any]:
        """One field of all records of a dataset."""
        return [record.fields[field] for record in self.records(name)]

    def top_tokens(self, name: str = "made") -> TopTokensReader:
        return TraceStore(self.artifacts, max_bytes=1 << 20).top_tokens(name)

    def traces(self, number: int, *, run_id: str = "run-1") -> list[Trace]:
        return TraceShards(self.artifacts, run_id=run_id, has_top_tokens=False).traces(number)

    def has_dataset(self, name: str = "made") -> bool:
        return name in self.artifacts.names("datasets")


def ids_in(text: str) -> tuple[int, ...]:
    """Token ids of a text of the small tokenizer."""
    return tuple(int(word.removeprefix("t")) for word in text.split())


def wanted_texts(small: SmallGeneration, *, prompt: str | None = None, max_tokens: int = 6) -> list[str]:
    """Greedy texts of all items from plain transformers."""
    world = small.world
    chosen = None if prompt is None else world.prompts[prompt]
    found = []
    for i in range(11):
        run = oracle_generate(world.model, world.parts, words_of(i), chosen, max_tokens)
        found.append("".join(f" t{token}" for token in run.token_ids if token not in SPECIAL))
    return found
