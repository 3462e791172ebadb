"""Selection: reads the stored samples of a run, shard by shard, and yields the records of the dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from promptatlas.types.generation import FieldContext, GenerateSpec

from service.store.datasets.formats.locations import Location
from service.store.datasets.formats.records import Record
from service.store.datasets.traces.store import TraceBuilder
from service.store.datasets.traces.top_tokens import TopTokensTable
from service.store.maps.points import task_of
from workers.generate.plan import GeneratePlan
from workers.generate.selection.judgement import Judge, Judged
from workers.generate.selection.keeping import kept
from workers.generate.selection.repeated import RepeatedMeasures
from workers.generate.shards import TraceShards
from workers.inputs.forward_records import ForwardRecords

if TYPE_CHECKING:
    from service.store.datasets.items import Example


@dataclass(kw_only=True)
class Counts:
    """Counts of samples and their tokens. n_empty: samples without text, which no dataset may have."""

    made: int = 0
    kept: int = 0
    correct: int = 0
    n_empty: int = 0
    n_without_answer: int = 0
    n_input_tokens: int = 0
    n_tokens: int = 0


@dataclass(kw_only=True)
class Selection:
    """One pass over the samples of a run.

    open_examples: opens the items of the run. check: called before each shard; may raise to stop.
    """

    spec: GenerateSpec
    plan: GeneratePlan
    store: TraceShards
    open_examples: Callable[[], Iterator[Example]]
    check: Callable[[], None]
    counts: Counts = dataclass_field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.repeated = RepeatedMeasures(self.spec.n)

    def records(self, builder: TraceBuilder) -> Iterator[Record]:
        """The kept samples as records; their most probable tokens go to ``builder``."""
        judge = Judge(self.spec)
        examples = ForwardRecords(self.open_examples)
        number = 0
        for shard in range(self.plan.n_shards):
            self.check()
            items = {example.index: example for example in examples.take(*self.plan.items_of(shard))}
            chosen = self._chosen(shard, judge=judge, items=items)
            for sample in chosen:
                number += 1
                fields = self._fields(sample, example=items[sample.trace.item])
                yield Record(location=Location.line(number), fields=fields, split=items[sample.trace.item].split)
            if chosen and self.spec.logprobs is not None:
                builder.add_top_tokens(_rows_of(self.store.top_tokens(shard), chosen))

    def _chosen(self, shard: int, *, judge: Judge, items: dict[int, Example]) -> list[Judged]:
        traces = self.store.traces(shard)
        self._count([trace.text.strip() for trace in traces], n_tokens=sum(trace.n_tokens for trace in traces))
        self.counts.n_input_tokens += sum(trace.n_input for trace in traces)
        judged = [
            judge.judge(trace, row=row, example=items[trace.item])
            for row, trace in enumerate(traces)
            if trace.text.strip()
        ]
        by_row = {sample.row: sample for sample in judged}
        self.repeated.add(((trace, by_row.get(row)) for row, trace in enumerate(traces)), items=items)
        self.counts.correct += sum(sample.is_correct for sample in judged)
        self.counts.n_without_answer += sum(sample.answer is None for sample in judged)
        spec = self.spec
        chosen = [
            sample
            for _, samples in groupby(judged, key=lambda sample: sample.trace.item)
            for sample in kept(list(samples), keep=spec.keep, dedupe=spec.dedupe, seed=spec.seed)
        ]
        self.counts.kept += len(chosen)
        return chosen

    def _count(self, texts: list[str], *, n_tokens: int) -> None:
        self.counts.made += len(texts)
        self.counts.n_empty += texts.count("")
        self.counts.n_tokens += n_tokens

    def _fields(self, sample: Judged, *, example: Example) -> dict[str, Any]:
        trace, identity = sample.trace, self.plan.identity
        task = task_of(example.record)
        return {
            "input": example.input,
            "target": trace.text,
            "answers": list(example.answers),
            "answer": sample.answer,
            "n_steps": sample.n_steps,
            "n_tokens": trace.n_tokens,
            "finish_reason": trace.finish_reason,
            "correct": sample.is_correct,
            "item": trace.item,
            "sample": trace.sample,
            "seed": trace.seed,
            "prompt": identity.prompts[trace.prompt],
            "revision": trace.revision or identity.revision,
            **({} if task is None else {"task": task}),
            **self._context_of(example),
        }

    def _context_of(self, example: Example) -> dict[str, Any]:
        """The field that was read in front of the item, so that a teacher can read it again."""
        context = self.spec.context
        return {context.field: example.record[context.field]} if isinstance(context, FieldContext) else {}


def _rows_of(table: TopTokensTable, chosen: list[Judged]) -> TopTokensTable:
    return TopTokensTable(
        rows=[table.rows[sample.row] for sample in chosen], header=table.header, vocabulary=table.vocabulary
    )
