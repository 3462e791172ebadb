"""Run kind ``batch``: answers the requests of a file, with the help of idle workers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing

from promptatlas.types.batches import BatchCounts, BatchFault, BatchFaults, BatchSpec

from service.errors import InvalidRequest
from service.planning.kinds.batch import COUNTS, ERRORS_FILE, FAULTS, OUTPUT_FILE, result_file_id
from service.store.client_files import ClientFiles
from service.store.datasets.importer import disk_errors_as_unavailable
from service.store.locked_folders import scratch_folder
from service.store.runs.records import Output
from workers.batches.input_file import check_input
from workers.batches.plan import BatchPlan, PlanFile
from workers.batches.shard_writer import ShardWriter
from workers.running.interface import RunStopped, SharedRunContext, WorkContext
from workers.running.shards.sharing import SharedShards
from workers.running.shards.store import ShardFiles

_PURPOSE = "batch_output"


def batch(run: SharedRunContext) -> Mapping[str, float]:
    """Answer all requests; writes ``results/…`` and ``counts.json``, and stores the output and the errors as files.

    Returns:
        n_requests, completed, failed, n_input_tokens, n_tokens, n_shards, n_shards_by_helpers.

    Raises:
        InvalidRequest: Lines of the file are invalid; ``faults.json`` has them.
        NotFound, DamagedArtifact, Conflict, UnsupportedModel: The batch cannot be carried out.
    """
    return _Batch(run).execute()


class _Batch:
    """One attempt at a batch."""

    def __init__(self, run: SharedRunContext) -> None:
        self._run = run
        self._spec = read_spec(run.spec)
        self._files = ClientFiles(run.artifacts)
        self._plan = self._load_or_make_plan()
        self._store = store_of(run)
        self._counted: dict[int, Counter[str]] = {}
        self._shards = SharedShards(
            run, numbers=range(self._plan.n_shards), store=self._store, on_progress=self._report_progress
        )

    def execute(self) -> dict[str, float]:
        writer = ShardWriter(self._run, spec=self._spec, plan=self._plan, store=self._store)
        try:
            self._shards.complete(writer.write)
        except RunStopped:
            # A cancelled batch keeps the responses that it has.
            self._write_files()
            raise
        self._write_files()
        total = self._total
        return {
            "n_requests": float(self._plan.n_requests),
            **{name: float(total[name]) for name in ("completed", "failed", "n_input_tokens", "n_tokens")},
            "n_shards": float(self._plan.n_shards),
            "n_shards_by_helpers": float(self._shards.n_by_helpers),
        }

    @property
    def _total(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for counted in self._counted.values():
            total.update(counted)
        return total

    def _load_or_make_plan(self) -> BatchPlan:
        run, spec = self._run, self._spec
        file = PlanFile(run.artifacts, run_id=run.run_id)
        plan = file.load_intact(log=lambda text: run.log(text, level="warning"))
        if plan is not None:
            return plan
        stream, _ = self._files.open(spec.input_file_id)
        with closing(stream):
            n_requests, faults = check_input(stream, spec=spec)
        if faults:
            self._refuse(faults)
        revision = run.load_model(spec.model).card.revision
        plan = BatchPlan(revision=revision, n_requests=n_requests, shard_requests=spec.shard_requests)
        file.save(plan)
        return plan

    def _refuse(self, faults: Sequence[BatchFault]) -> None:
        self._run.save_output(FAULTS, BatchFaults(data=list(faults)).model_dump_json().encode())
        first = faults[0]
        where = "" if first.line is None else f"Line {first.line} of the file: "
        others = f" {len(faults) - 1} more lines are invalid." if len(faults) > 1 else ""
        raise InvalidRequest(f"{where}{first.message}{others}", loc=("input_file_id",))

    def _report_progress(self, found: Mapping[int, Output]) -> None:
        new = sorted(found.keys() - self._counted.keys())
        for number in new:
            self._counted[number] = _counts_of(self._store.read(number))
        total = self._total
        self._run.progress(total["completed"] + total["failed"], self._plan.n_requests)
        if new or not self._counted:
            counts = BatchCounts(total=self._plan.n_requests, completed=total["completed"], failed=total["failed"])
            self._run.save_output(COUNTS, counts.model_dump_json().encode())

    def _write_files(self) -> None:
        """Store the responses and the errors so far, in the order of the requests."""
        with disk_errors_as_unavailable(), scratch_folder() as folder:
            paths = {suffix: folder / suffix for suffix in (OUTPUT_FILE, ERRORS_FILE)}
            with paths[OUTPUT_FILE].open("wb") as output, paths[ERRORS_FILE].open("wb") as errors:
                for number in sorted(self._counted):
                    for line in self._store.read(number).splitlines(keepends=True):
                        target = errors if json.loads(line)["response"]["status_code"] != 200 else output
                        target.write(line)
            for suffix, path in paths.items():
                if path.stat().st_size:
                    file_id = result_file_id(self._run.run_id, suffix)
                    self._files.create_once(file_id, path, filename=f"{file_id}.jsonl", purpose=_PURPOSE)


def read_spec(stored: Mapping[str, object]) -> BatchSpec:
    """Parse a stored spec."""
    return BatchSpec.model_validate_json(json.dumps(dict(stored)))


def store_of(place: WorkContext) -> ShardFiles:
    """The stored shards of a batch."""
    return ShardFiles(place.artifacts, run_id=place.run_id, folder="results", suffix="jsonl")


def _counts_of(data: bytes) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in data.splitlines():
        response = json.loads(line)["response"]
        counts["completed" if response["status_code"] == 200 else "failed"] += 1
        usage = response["body"].get("usage") or {}
        counts["n_input_tokens"] += usage.get("prompt_tokens", 0)
        counts["n_tokens"] += usage.get("completion_tokens", 0)
    return counts
