"""The kind ``harvest``: from a dataset to shards of states, with as many workers as have nothing else to do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

from promptatlas.types.harvest import HarvestManifest, HarvestShard

from service.errors import DamagedArtifact, InvalidRequest
from service.store.runs.records import Output
from workers.harvest.context import HarvestContext
from workers.harvest.estimate import estimate, in_words
from workers.harvest.plan import HarvestPlan, PlanFile, PlannedShard
from workers.harvest.shards.store import ShardStore
from workers.harvest.shards.worker import ShardWork
from workers.running.interface import SharedRunContext

MANIFEST = "manifest.json"

_LOOK_S = 0.25
"""Between two looks at what others have done, while nothing is left but what they do."""


def harvest(run: SharedRunContext) -> Mapping[str, float]:
    """Read all texts of the spec; leaves ``shards/…``, and ``manifest.json`` once all are there.

    Returns:
        n_texts, n_tokens, n_rows, n_dropped, n_shards, n_bytes of all shards, and how many of them helpers have made in this
        attempt.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact, Conflict, UnsupportedModel: the spec cannot be done, or no longer.
    """
    run.save_output("spec.json", json.dumps(dict(run.spec), indent=2).encode())
    return _Harvest(run, job=HarvestContext.of(run)).carry_out()


class _Harvest:
    """One attempt."""

    def __init__(
        self, run: SharedRunContext, *, job: HarvestContext, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._run = run
        self._job = job
        self._sleep = sleep
        self._plan = self._planned()
        self._store = ShardStore(run.artifacts, run_id=run.run_id, shard_format=job.spec.format)
        self._shards = {shard.number: shard for shard in self._plan.shards}
        self._found = self._store.find_all(self._shards)
        self._n_before = len(self._found)
        self._n_own = 0

    def carry_out(self) -> dict[str, float]:
        self._tell_estimate()
        self._progress()
        work = ShardWork(self._job, plan=self._plan, store=self._store)
        while missing := self._missing():
            n_own = self._n_own
            work.go_through(missing, before=self._before, done=self._done)
            self._look()
            if self._n_own == n_own and self._missing():
                self._wait()
        self._run.coordinator.withdraw_requests()
        self._run.save_output(MANIFEST, self._manifest().model_dump_json(indent=2).encode())
        return self._metrics()

    def _planned(self) -> HarvestPlan:
        file = PlanFile(self._run.artifacts, run_id=self._run.run_id)
        plan = self._kept(file)
        if plan is None:
            self._run.log("Counting tokens.")
            plan = self._job.plan()
            file.save(plan)
        self._job.require_same(plan)
        if not plan.shards:
            raise InvalidRequest(
                f"There is nothing to read: of {plan.n_dropped} texts of {self._job.spec.dataset} none fits the model's "
                "context and has the positions asked for. With max_tokens long texts are cut.",
            )
        self._check_room(plan)
        if plan.n_dropped:
            self._run.log(
                f"{plan.n_dropped} of {plan.n_dropped + plan.n_texts} texts are left out: longer than the model's context, "
                "empty, or without a position asked for.",
                level="warning",
            )
        return plan

    def _kept(self, file: PlanFile) -> HarvestPlan | None:
        try:
            return file.load()
        except DamagedArtifact as error:
            # It would come out the same again.
            self._run.log(error.detail, level="warning")
            return None

    def _check_room(self, plan: HarvestPlan) -> None:
        limit = self._run.settings.max_harvest_bytes
        if plan.n_bytes > limit:
            raise InvalidRequest(
                f"The harvest would hold {in_words(plan.n_bytes)}; this server keeps at most {in_words(limit)} of one. Ask "
                "for fewer texts, layers or positions, reduce, or take dtype float16."
            )

    def _tell_estimate(self) -> None:
        if not self._missing():
            return
        found = estimate(self._plan, reading=self._job.reading, examples=self._job.examples())
        self._run.metric(0, member=None, **found.numbers())
        self._run.log(str(found))

    def _before(self) -> bool:
        self._run.check()
        self._ask()
        return True

    def _done(self, shard: PlannedShard, output: Output) -> None:
        self._n_own += 1
        self._found[shard.number] = output
        self._look()

    def _look(self) -> None:
        """See what others have done."""
        self._found |= self._store.find_all(self._missing())
        self._progress()

    def _wait(self) -> None:
        self._run.check()
        self._ask()
        self._sleep(_LOOK_S)

    def _ask(self) -> None:
        """Ask for as much help as there are shards that nobody has, but for the one that this worker goes on with."""
        missing = [str(number) for number in self._missing()]
        if len(missing) > 1:
            self._run.coordinator.request_helpers(len(self._run.coordinator.unleased(missing)) - 1)

    def _progress(self) -> None:
        n_tokens = sum(self._shards[number].n_tokens for number in self._found)
        self._run.progress(n_tokens, self._plan.n_tokens)

    def _missing(self) -> list[int]:
        return [number for number in self._shards if number not in self._found]

    def _metrics(self) -> dict[str, float]:
        plan = self._plan
        n_bytes = sum(output.n_bytes for output in self._found.values())
        counts = {
            "n_texts": plan.n_texts,
            "n_tokens": plan.n_tokens,
            "n_rows": plan.n_rows,
            "n_dropped": plan.n_dropped,
            "n_shards": len(plan.shards),
            "n_bytes": n_bytes,
            "n_shards_by_helpers": len(plan.shards) - self._n_before - self._n_own,
        }
        return {name: float(count) for name, count in counts.items()}

    def _manifest(self) -> HarvestManifest:
        spec, plan, identity = self._job.spec, self._plan, self._job.reading.identity
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
            rows=self._job.reading.row_kind,
            tensors={name: list(shape) for name, shape in plan.tensors.items()},
            n_texts=plan.n_texts,
            n_tokens=plan.n_tokens,
            n_rows=plan.n_rows,
            n_dropped=plan.n_dropped,
            shards=[self._shard(number) for number in sorted(self._shards)],
        )

    def _shard(self, number: int) -> HarvestShard:
        shard, output = self._shards[number], self._found[number]
        return HarvestShard(
            path=output.path,
            first_text=shard.first_text,
            n_texts=shard.n_texts,
            n_rows=shard.n_rows,
            n_bytes=output.n_bytes,
            sha256=output.sha256,
        )
