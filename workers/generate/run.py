"""Run kind ``generate``: samples of a model for every item of a dataset, with the help of idle workers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

from service.errors import InvalidRequest
from service.store.datasets.traces.store import TraceStore
from service.store.runs.records import Output
from workers.evaluation.answer_rules import answer_finder, describe_rule
from workers.generate.context import GenerateContext, shards_of
from workers.generate.plan import GeneratePlan, PlanFile
from workers.generate.selection.selection import Counts, Selection
from workers.generate.shard_writer import ShardWriter
from workers.running.interface import SharedRunContext
from workers.running.shards.sharing import SharedShards

BARE = "bare"
"""Label of the model without a prompt in metrics."""

N_BOOTSTRAP = 1000
"""Bootstrap samples of the intervals."""

N_ITEMS_BEFORE_ANSWERS = 100
"""A run ends if its rule finds no answer in the samples of so many items."""


def generate(run: SharedRunContext) -> Mapping[str, float]:
    """Generate all samples and store those that are kept as a dataset; writes ``traces/…``, ``topk/…`` and ``spec.json``.

    Returns:
        made, kept, yield, correct, n_items, n_left_out, n_empty, n_without_answer, n_input_tokens, n_tokens, n_shards,
        n_shards_by_helpers, and of this attempt items_per_s and tokens_per_s. With several samples of each item also
        ``pass@k`` and ``majority@k`` with ``…_low`` and ``…_high``; with several prompts, ``{ref}/…`` and ``bare/…``.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact, Conflict, UnsupportedModel: The spec cannot be carried out, or nothing
            is kept.
    """
    run.save_output("spec.json", json.dumps(dict(run.spec), indent=2).encode())
    return _Generation(run, job=GenerateContext.of(run)).execute()


class _Generation:
    """One attempt at a run."""

    def __init__(
        self, run: SharedRunContext, *, job: GenerateContext, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run = run
        self._job = job
        self._plan = self._load_or_make_plan()
        self._store = shards_of(run, spec=job.spec)
        self._speed = _Speed(clock=clock)
        self._n_tokens: dict[int, int] = {}
        self._has_answers = job.spec.answer == "whole"
        self._shards = SharedShards(
            run,
            numbers=range(self._plan.n_shards),
            store=self._store,
            on_progress=self._report_progress,
            wants_help=job.spec.teacher is None,
        )

    def execute(self) -> dict[str, float]:
        self._shards.complete(ShardWriter(self._job, plan=self._plan, store=self._store).write)
        self._require_answers(self._plan.n_shards)
        selection = self._make_dataset()
        return {**self._metrics(selection.counts), **self._repeated_metrics(selection)}

    def _load_or_make_plan(self) -> GeneratePlan:
        file = PlanFile(self._run.artifacts, run_id=self._run.run_id)
        plan = file.load_intact(log=lambda text: self._run.log(text, level="warning"))
        if plan is None:
            plan = self._job.plan()
            if not plan.n_items:
                raise InvalidRequest(f"Dataset {self._job.spec.dataset} has no items in the requested split.")
            file.save(plan)
        self._job.require_same(plan)
        return plan

    def _report_progress(self, found: Mapping[int, Output]) -> None:
        new = sorted(found.keys() - self._n_tokens.keys())
        for number in new:
            self._n_tokens[number] = sum(trace.n_tokens for trace in self._store.traces(number))
        n_items = sum(self._plan.items_of(number)[1] for number in found)
        self._run.progress(n_items, self._plan.n_items)
        speed = self._speed.at(n_items=n_items, n_tokens=sum(self._n_tokens.values()))
        if new and speed:
            self._run.metric(n_items, member=None, **speed)
        n_first = next(number for number in range(self._plan.n_shards + 1) if number not in found)
        if n_first * self._plan.items_per_shard >= N_ITEMS_BEFORE_ANSWERS:
            self._require_answers(n_first)

    def _require_answers(self, n_shards: int) -> None:
        """End the run if the first shards have samples and none of them has an answer."""
        if self._has_answers:
            return
        rule = self._job.spec.answer
        find = answer_finder(rule)
        n_samples = 0
        for number in range(n_shards):
            for trace in self._store.traces(number):
                n_samples += 1
                if find(trace.text) is not None:
                    self._has_answers = True
                    return
        n_items = min(n_shards * self._plan.items_per_shard, self._plan.n_items)
        if n_samples:
            raise InvalidRequest(
                f"Expected an answer ({describe_rule(rule)}) in some of the samples of the first {n_items} items; none of "
                f"{n_samples} has one. No dataset is stored."
            )

    def _make_dataset(self) -> Selection:
        run, spec = self._run, self._job.spec
        selection = Selection(
            spec=spec, plan=self._plan, store=self._store, open_examples=self._job.examples, check=run.check
        )
        counts = selection.counts
        store = TraceStore(run.artifacts, max_bytes=run.settings.max_dataset_bytes)
        try:
            info, _ = store.create(spec.name, records=selection.records, facts=self._facts())
        except InvalidRequest:
            if counts.kept:
                raise
            raise InvalidRequest(self._nothing_kept(counts)) from None
        self._log_counts(counts)
        files = (info.traces or {}).get("top_tokens", ())
        if spec.logprobs is not None and not any(file["n_tokens"] for file in files):
            run.log(f"Teacher {spec.teacher!r} returned no log-probabilities: only texts are kept.", level="warning")
        return selection

    def _nothing_kept(self, counts: Counts) -> str:
        spec = self._job.spec
        if not counts.made:
            return (
                f"Nothing was generated: none of the {self._plan.n_items} items leaves room for a token in the context of "
                f"{spec.model}."
            )
        return (
            f"Nothing is kept of {counts.made} samples: keep is {spec.keep!r}, {counts.correct} are correct by {spec.metric}, "
            f"{counts.n_without_answer} have no answer ({describe_rule(spec.answer)}), {counts.n_empty} are empty. No dataset "
            "is stored."
        )

    def _log_counts(self, counts: Counts) -> None:
        self._run.log(f"{counts.kept} of {counts.made} samples are kept; {counts.correct} are correct.")
        if counts.n_empty:
            self._run.log(f"{counts.n_empty} samples are left out because they are empty.", level="warning")
        if n_left_out := self._n_left_out(counts):
            self._run.log(
                f"{n_left_out} samples were not generated: their input leaves no room in the context.", level="warning"
            )

    def _n_left_out(self, counts: Counts) -> int:
        return self._plan.n_items * self._job.spec.n * len(self._job.spec.prompt_refs) - counts.made

    def _facts(self) -> dict[str, object]:
        spec, identity = self._job.spec, self._plan.identity
        n_samples = self._plan.n_items * spec.n * len(spec.prompt_refs)
        return {
            "run_id": self._run.run_id,
            "model": identity.model,
            "revision": identity.revision,
            "tokenizer_sha256": identity.tokenizer_sha256,
            "teacher": identity.teacher,
            "prompts": list(identity.prompts),
            "dataset": spec.dataset,
            "dataset_sha256": self._plan.dataset_sha256,
            "n_samples": n_samples,
            "logprobs": spec.logprobs,
        }

    def _repeated_metrics(self, selection: Selection) -> dict[str, float]:
        """``pass@k`` and ``majority@k`` with their bounds, and ``summary.json`` with the same."""
        spec, prompts = self._job.spec, self._plan.identity.prompts
        table = {
            prompt or BARE: selection.repeated.intervals(i, samples=N_BOOTSTRAP, seed=spec.seed)
            for i, prompt in enumerate(prompts)
        }
        if not any(table.values()):
            return {}
        shown = {label: {name: one.to_json() for name, one in row.items()} for label, row in table.items()}
        self._run.save_output("summary.json", json.dumps(shown, indent=2, allow_nan=False).encode())
        metrics: dict[str, float] = {}
        for label, row in table.items():
            prefix = "" if len(table) == 1 else f"{label}/"
            for name, one in row.items():
                metrics[f"{prefix}{name}"] = one.value
                metrics[f"{prefix}{name}_low"], metrics[f"{prefix}{name}_high"] = one.low, one.high
        return metrics

    def _metrics(self, counts: Counts) -> dict[str, float]:
        found = {
            **vars(counts),
            "yield": counts.kept / counts.made,
            "n_items": self._plan.n_items,
            "n_left_out": self._n_left_out(counts),
            "n_shards": self._plan.n_shards,
            "n_shards_by_helpers": self._shards.n_by_helpers,
            **self._speed.at(n_items=self._plan.n_items, n_tokens=sum(self._n_tokens.values())),
        }
        return {name: float(value) for name, value in found.items()}


class _Speed:
    """Speed of this attempt since the first report."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: tuple[float, int, int] | None = None

    def at(self, *, n_items: int, n_tokens: int) -> dict[str, float]:
        """Items and tokens per second; empty before some time has passed and something was done."""
        now_s = self._clock()
        if self._first is None:
            self._first = (now_s, n_items, n_tokens)
        first_s, first_items, first_tokens = self._first
        if now_s <= first_s or n_items == first_items:
            return {}
        elapsed_s = now_s - first_s
        return {
            "items_per_s": (n_items - first_items) / elapsed_s,
            "tokens_per_s": (n_tokens - first_tokens) / elapsed_s,
        }
