"""A store with prompts, aliases, a dataset, and runs of several kinds and statuses."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.files.files import Files
from service.store.idempotency import Attempt, IdempotencyStore, StoredResponse
from service.store.prompts.manifests import Provenance
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore
from service.store.runs.writer import RunWriter

PROMPT_REFS = ("qa", "qa@1", "qa@live", "other")


class FullStore:
    """The objects are attributes; ``files`` is where they are."""

    def __init__(self, files: Files, *, clock: Any, soft: Callable[..., Any]) -> None:
        self.files = files
        self.clock = clock
        self.soft = soft
        self.artifacts = ArtifactStore("", files=files, clock=clock)
        self.prompts = PromptStore(self.artifacts, clock=clock)
        self.runs = RunStore(self.artifacts, clock=clock)
        self.datasets = DatasetStore(self.artifacts, load_hub=None, clock=clock)

    def fill(self) -> FullStore:
        """Store something of every sort."""
        self.tuned = self.ended("tune", outputs=("draws/qa@1.safetensors", "report.json"), prompts=("qa@1",))
        self.prompts.create("qa", prompt=self.soft(1), provenance=Provenance(run_id=self.tuned))
        self.prompts.create("qa", prompt=self.soft(2))
        self.prompts.create("qa", prompt=self.soft(3))
        self.prompts.create("other", prompt=self.soft(1))
        self.prompts.delete("qa", version=3)
        self.prompts.set_alias("qa", alias="live", version=2)
        self.datasets.create("pairs", format="jsonl", stream=io.BytesIO(b'{"input":"a","target":"b"}\n' * 3))
        self.harvested = self.ended("harvest", outputs=("manifest.json", "shards/00000.safetensors"))
        self.mapped = self.ended("map", outputs=("map.json", "points.0.safetensors"))
        self.failed = self.ended("tune", status="failed", outputs=("spec.json",))
        self.queued = self.runs.create("tune", spec={"prompts": ["other"]}).id
        self.running = self.runs.create("tune", spec={}).id
        self.writer = self.runs.claim(self.running, worker="w")
        work(self.writer, outputs=("spec.json",))
        idempotency = IdempotencyStore(self.artifacts, clock=self.clock)
        attempt = idempotency.begin("key", api_key_name="a", route="POST /v1/runs", body=b"")
        assert isinstance(attempt, Attempt)
        idempotency.finish(attempt, response=StoredResponse(status=202))
        return self

    def ended(self, kind: str, *, status: Any = "succeeded", spec: Any = None, **written: Any) -> str:
        """A run that has ended with events, a checkpoint and outputs; its id."""
        run_id = self.runs.create(kind, spec=spec or {}).id
        writer = self.runs.claim(run_id, worker="w")
        work(writer, **written)
        writer.finish(status, metrics={"loss": 0.25})
        return run_id

    def content(self) -> dict[str, bytes]:
        """All files by key."""
        return {entry.key: self.files.read(entry.key) for entry in self.files.walk()}


def work(writer: RunWriter, *, outputs: tuple[str, ...] = (), prompts: tuple[str, ...] = ()) -> None:
    """Write what an attempt writes."""
    for step in range(3):
        writer.emit("metric", {"step": step, "loss": 1.0 / (step + 1)})
        writer.flush()
    writer.save_checkpoint({"state.bin": b"state" * 20})
    for path in outputs:
        writer.put_output(path, path.encode() * 10)
    for ref in prompts:
        writer.add_prompt(ref)
    writer.flush()


def answers(files: Files) -> dict[str, Any]:
    """What a service answers about the objects of a store, for comparison with another store."""
    artifacts = ArtifactStore("", files=files)
    prompts, runs = PromptStore(artifacts), RunStore(artifacts)
    listed = runs.list_runs(limit=100).items
    return {
        "prompts": {ref: (prompts.resolve(ref), prompts.content(prompts.resolve(ref))) for ref in PROMPT_REFS},
        "by hash": prompts.resolve(prompts.resolve("qa@1").sha256).sha256,
        "names": prompts.list_names(limit=100).items,
        "datasets": [info.sha256 for info in DatasetStore(artifacts, load_hub=None).list_datasets(limit=100).items],
        "runs": listed,
        "events": {record.id: runs.events(record.id) for record, _ in listed},
        "outputs": {
            record.id: [(output.path, runs.read_output(record.id, output.path)) for output in runs.outputs(record.id)]
            for record, _ in listed
        },
        "unfinished": [record.id for record, _ in runs.unfinished()],
    }
