"""Run kind ``harvest``: computes shards of states of a dataset, with the help of idle workers."""

from __future__ import annotations

import json
from collections.abc import Mapping

from promptatlas.types.harvest import HarvestManifest, HarvestShard

from service.errors import InvalidRequest
from service.store.runs.records import Output
from workers.harvest.context import HarvestContext
from workers.harvest.estimate import estimate, format_bytes
from workers.harvest.shard_writer import ShardWriter
from workers.harvest.shards.plan import HarvestPlan, PlanFile
from workers.harvest.shards.store import ShardStore
from workers.running.interface import SharedRunContext
from workers.running.shards.sharing import SharedShards

MANIFEST = "manifest.json"


def harvest(run: SharedRunContext) -> Mapping[str, float]:
    """Compute all shards; writes ``shards/…`` and finally ``manifest.json``.

    Returns:
        n_texts, n_tokens, n_rows, n_dropped, n_shards and n_bytes of all shards, and n_shards_by_helpers, the number that
        helpers computed during this attempt.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact, Conflict, UnsupportedModel: The spec cannot be carried out.
    """
    run.save_output("spec.json", json.dumps(dict(run.spec), indent=2).encode())
    return _Harvest(run, job=HarvestContext.of(run)).execute()


class _Harvest:
    """One attempt at a harvest."""

    def __init__(self, run: SharedRunContext, *, job: HarvestContext) -> None:
        self._run = run
        self._job = job
        self._plan = self._load_or_make_plan()
        self._store = ShardStore(run.artifacts, run_id=run.run_id, shard_format=job.spec.format)
        self._planned = {shard.number: shard for shard in self._plan.shards}
        self._shards = SharedShards(
            run, numbers=list(self._planned), store=self._store, on_progress=self._report_progress
        )

    def execute(self) -> dict[str, float]:
        self._log_estimate()
        self._shards.complete(ShardWriter(self._job, plan=self._plan, store=self._store).write)
        self._run.save_output(MANIFEST, self._manifest().model_dump_json(indent=2).encode())
        return self._metrics()

    def _load_or_make_plan(self) -> HarvestPlan:
        file = PlanFile(self._run.artifacts, run_id=self._run.run_id)
        plan = file.load_intact(log=lambda text: self._run.log(text, level="warning"))
        if plan is None:
            self._run.log("Counting tokens.")
            plan = self._job.plan()
            file.save(plan)
        self._job.require_same(plan)
        if not plan.shards:
            raise InvalidRequest(
                f"There is nothing to read: none of the {plan.n_dropped} texts of {self._job.spec.dataset} fits the model's "
                "context and has the requested positions. Set max_tokens to cut long texts.",
            )
        self._check_size(plan)
        if plan.n_dropped:
            self._run.log(
                f"{plan.n_dropped} of {plan.n_dropped + plan.n_texts} texts are left out: longer than the model's context, "
                "empty, or without a requested position.",
                level="warning",
            )
        return plan

    def _check_size(self, plan: HarvestPlan) -> None:
        limit = self._run.settings.max_harvest_bytes
        if plan.n_bytes > limit:
            raise InvalidRequest(
                f"The harvest would have {format_bytes(plan.n_bytes)}; the limit of this server is {format_bytes(limit)}. "
                "Request fewer texts, layers or positions, a reduction, or dtype float16."
            )

    def _log_estimate(self) -> None:
        if not self._shards.missing:
            return
        found = estimate(self._plan, reader=self._job.reader, examples=self._job.examples())
        self._run.metric(0, member=None, **found.numbers())
        self._run.log(str(found))

    def _report_progress(self, found: Mapping[int, Output]) -> None:
        self._run.progress(sum(self._planned[number].n_tokens for number in found), self._plan.n_tokens)

    def _metrics(self) -> dict[str, float]:
        plan = self._plan
        n_bytes = sum(output.n_bytes for output in self._shards.found.values())
        counts = {
            "n_texts": plan.n_texts,
            "n_tokens": plan.n_tokens,
            "n_rows": plan.n_rows,
            "n_dropped": plan.n_dropped,
            "n_shards": len(plan.shards),
            "n_bytes": n_bytes,
            "n_shards_by_helpers": self._shards.n_by_helpers,
        }
        return {name: float(count) for name, count in counts.items()}

    def _manifest(self) -> HarvestManifest:
        spec, plan, identity = self._job.spec, self._plan, self._job.reader.identity
        return HarvestManifest(
            run_id=self._run.run_id,
            model=identity.model,
            revision=identity.revision,
            prompt=identity.prompt,
            dataset=spec.dataset,
            dataset_sha256=plan.dataset_sha256,
            split=spec.split,
            include_target=spec.include_target,
            sites=spec.sites,
            layers=spec.layers,
            positions=spec.positions,
            reduce=spec.reduce,
            dtype=spec.dtype,
            format=spec.format,
            rows=self._job.reader.row_kind,
            tensors={name: list(shape) for name, shape in plan.tensors.items()},
            n_texts=plan.n_texts,
            n_tokens=plan.n_tokens,
            n_rows=plan.n_rows,
            n_dropped=plan.n_dropped,
            shards=[self._shard(number) for number in sorted(self._planned)],
        )

    def _shard(self, number: int) -> HarvestShard:
        shard, output = self._planned[number], self._shards.found[number]
        return HarvestShard(
            path=output.path,
            first_text=shard.first_text,
            n_texts=shard.n_texts,
            n_rows=shard.n_rows,
            n_bytes=output.n_bytes,
            sha256=output.sha256,
        )
