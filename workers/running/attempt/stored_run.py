"""The run as its kind of work sees it, on the store."""

from __future__ import annotations

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
from workers.running.attempt.reporter import Reporter
from workers.running.attempt.team import team_of
from workers.running.interface import RunStopped, Team
from workers.running.model_cache import ModelCache
from workers.running.pool.stop_signals import StopSignals
from workers.running.store_retries import persistently

if TYPE_CHECKING:
    from service.engine.model.hosted_model import HostedModel

T = TypeVar("T")


class StoredRun:
    """One attempt at one run; a :class:`workers.running.interface.SharedRun`.

    Args:
        writer: of the attempt.
        reporter: takes what the run says.
        orders: what this process was told.
        settings: of this process.
        artifacts: the store.
        timing: how often to try what the store refuses.
    """

    def __init__(
        self,
        writer: RunWriter,
        *,
        reporter: Reporter,
        orders: StopSignals,
        settings: Settings,
        artifacts: ArtifactStore,
        timing: Intervals,
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
        self._orders = orders
        self._timing = timing
        self._waits_s = timing.retries_s
        self._models = ModelCache(settings)

    @cached_property
    def team(self) -> Team:
        """Those who work on the run."""
        return team_of(self.run_id, settings=self.settings, timing=self._timing)

    def load_model(self, name: str) -> HostedModel:
        """The base model of that name; NotFound when this worker has none such."""
        return self._models.get(name)

    def progress(self, step: int, total: int) -> None:
        """How far it is."""
        self._reporter.progress(step, total)

    def metric(self, step: int, *, member: str | None = None, **values: float) -> None:
        """A point of the run's curves."""
        self._reporter.metric(step, member=member, values=values)

    def log(self, text: str, *, level: str = "info") -> None:
        """A sentence for the run's owner."""
        self._reporter.say("log", {"level": level, "text": text})

    def made_prompt(self, ref: str) -> None:
        """Note that the run has made this prompt version."""
        self._reporter.prompt(ref)

    def check(self) -> None:
        """Raise RunStopped if the run must stop."""
        if self._reporter.fenced or self._orders.given is not None:
            raise RunStopped

    def save_checkpoint(self, files: Mapping[str, bytes]) -> None:
        """Keep ``files`` as the newest checkpoint."""
        self._stored(lambda: self._writer.save_checkpoint(files))

    def load_checkpoint(self) -> Mapping[str, bytes] | None:
        """The newest whole checkpoint."""
        return self._stored(self._writer.load_checkpoint)

    def save_output(self, path: str, data: bytes) -> None:
        """Keep an artifact of the run."""
        self._stored(lambda: self._writer.put_output(path, data))

    def read_output(self, path: str) -> bytes | None:
        """An artifact of this run saved before."""
        return self._stored(lambda: self._writer.read_output(path))

    def _stored(self, action: Callable[[], T]) -> T:
        try:
            return persistently(action, waits_s=self._waits_s)
        except StaleAttempt as error:
            self._reporter.fenced = True
            raise RunStopped from error
