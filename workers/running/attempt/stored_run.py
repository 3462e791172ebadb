"""Run context of an attempt, backed by the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from service.queueing.intervals import Intervals
from service.settings import Settings, default_datasets_path
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.prompts.store import PromptStore
from service.store.runs.writer import RunWriter, StaleAttempt
from workers.running.attempt.coordination import open_coordinator
from workers.running.attempt.reporter import Reporter
from workers.running.attempt.work_tallies import WorkTallies
from workers.running.interface import Coordinator, RunStopped
from workers.running.model_cache import ModelCache
from workers.running.stop_signals import StopSignals
from workers.running.store_retries import with_retries

if TYPE_CHECKING:
    from service.engine.model.hosted_model import HostedModel

T = TypeVar("T")


class StoredRun:
    """One attempt at one run; a :class:`workers.running.interface.SharedRunContext`.

    Args:
        writer: of the attempt.
        reporter: receives progress, metrics and messages.
        stop_signals: of this process.
        settings: of this process.
        artifacts: the store.
        timing: intervals of retries and of coordination.
        tallies: of this process.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        writer: RunWriter,
        *,
        reporter: Reporter,
        stop_signals: StopSignals,
        settings: Settings,
        artifacts: ArtifactStore,
        timing: Intervals,
        tallies: WorkTallies,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run_id: str = writer.record.id
        self.attempt: int = writer.attempt
        self.name: str | None = writer.record.name
        self.spec: Mapping[str, Any] = writer.record.spec
        self.settings = settings
        self.artifacts = artifacts
        self.prompts = PromptStore(artifacts)
        self.datasets = DatasetStore(
            artifacts, builtin=default_datasets_path(cwd=Path.cwd()), max_bytes=settings.max_dataset_bytes
        )
        self._writer = writer
        self._reporter = reporter
        self._stop_signals = stop_signals
        self._timing = timing
        self._tallies = tallies
        self._clock = clock
        self._waits_s = timing.retries_s
        self._models = ModelCache(settings)

    @cached_property
    def coordinator(self) -> Coordinator:
        """Coordinates this worker with the helpers of the run."""
        return open_coordinator(self.run_id, settings=self.settings, timing=self._timing)

    def load_model(self, name: str) -> HostedModel:
        """The base model of that name; NotFound if this worker does not have it."""
        return self._models.get(name)

    def progress(self, step: int, total: int) -> None:
        """Report progress."""
        self._reporter.progress(step, total)

    def metric(self, step: int, *, member: str | None = None, **values: float) -> None:
        """Add a point to the run's curves."""
        self._reporter.metric(step, member=member, values=values)

    def log(self, text: str, *, level: str = "info") -> None:
        """Add a message for the owner of the run."""
        self._reporter.event("log", {"level": level, "text": text})

    def count(self, name: str, amount: float = 1) -> None:
        """Add to a counter of the workers."""
        self._tallies.count(name, amount)

    def made_prompt(self, ref: str) -> None:
        """Record that the run has created this prompt version."""
        self._reporter.prompt(ref)

    def check(self) -> None:
        """Raise RunStopped if the run must stop."""
        if self._reporter.fenced or self._stop_signals.received is not None:
            raise RunStopped

    def save_checkpoint(self, files: Mapping[str, bytes]) -> None:
        """Store ``files`` as the newest checkpoint."""
        started_s = self._clock()
        self._access_store(lambda: self._writer.save_checkpoint(files))
        self._tallies.saved_checkpoint(self._clock() - started_s)

    def load_checkpoint(self) -> Mapping[str, bytes] | None:
        """The newest complete checkpoint."""
        return self._access_store(self._writer.load_checkpoint)

    def save_output(self, path: str, data: bytes) -> None:
        """Store an output file of the run."""
        self._access_store(lambda: self._writer.put_output(path, data))

    def read_output(self, path: str) -> bytes | None:
        """An output file of this run."""
        return self._access_store(lambda: self._writer.read_output(path))

    def _access_store(self, action: Callable[[], T]) -> T:
        try:
            return with_retries(action, waits_s=self._waits_s)
        except StaleAttempt as error:
            self._reporter.fenced = True
            raise RunStopped from error
