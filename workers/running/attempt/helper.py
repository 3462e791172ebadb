"""Helper of a run whose attempt belongs to another worker. It claims nothing and writes no events, checkpoints or outputs."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import structlog

from service.errors import AtlasError, Unavailable
from service.queueing.connections import connect
from service.queueing.intervals import Intervals
from service.queueing.tallies import Tallies
from service.queueing.work_sharing import HelpQueue
from service.settings import Settings, default_datasets_path
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.prompts.store import PromptStore
from service.store.runs.records import RunRecord
from service.store.runs.store import RunStore
from workers.running.attempt.coordination import open_coordinator
from workers.running.attempt.work_tallies import WorkTallies
from workers.running.interface import Coordinator, HelperWork, RunStopped
from workers.running.model_cache import ModelCache
from workers.running.periodic import PeriodicThread
from workers.running.setup import WorkSetup
from workers.running.stop_signals import StopSignals

if TYPE_CHECKING:
    from service.engine.model.hosted_model import HostedModel

_log = structlog.get_logger(__name__)


class HelpedRun:
    """Context of a helper of a run; a :class:`workers.running.interface.WorkContext`.

    Args:
        record: of the run.
        runs: holds the state of the run.
        stop_signals: of this process.
        settings, timing: of this process.
        artifacts: the store.
        tallies: of this process.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        record: RunRecord,
        *,
        runs: RunStore,
        stop_signals: StopSignals,
        settings: Settings,
        timing: Intervals,
        artifacts: ArtifactStore,
        tallies: WorkTallies,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run_id: str = record.id
        self.spec: Mapping[str, Any] = record.spec
        self.settings = settings
        self.artifacts = artifacts
        self.prompts = PromptStore(artifacts)
        self.datasets = DatasetStore(
            artifacts, builtin=default_datasets_path(cwd=Path.cwd()), max_bytes=settings.max_dataset_bytes
        )
        self._coordinator = open_coordinator(record.id, settings=settings, timing=timing)
        self._models = ModelCache(settings)
        self._runs = runs
        self._stop_signals = stop_signals
        self._tallies = tallies
        self._look_s = timing.look_s
        self._clock = clock
        self._checked_at_s: float | None = None

    @property
    def coordinator(self) -> Coordinator:
        """Coordinates this worker with the others of the run."""
        return self._coordinator

    def load_model(self, name: str) -> HostedModel:
        """The base model of that name; NotFound if this worker does not have it."""
        return self._models.get(name)

    def count(self, name: str, amount: float = 1) -> None:
        """Add to a counter of the workers."""
        self._tallies.count(name, amount)

    def check(self) -> None:
        """Raise RunStopped after a stop signal, and when the run has ended or is to be cancelled."""
        if self._stop_signals.received is not None:
            raise RunStopped
        now_s = self._clock()
        if self._checked_at_s is None or now_s - self._checked_at_s >= self._look_s:
            self._checked_at_s = now_s
            _, state = self._runs.get(self.run_id)
            if state.has_ended or state.cancel_requested:
                raise RunStopped


def help_with_run(
    run_id: str, *, setup: WorkSetup, stop_signals: StopSignals, runs: RunStore, artifacts: ArtifactStore
) -> None:
    """Help with a run until no work is left. Errors are logged and not raised: the run continues without this helper."""
    record, state = runs.get(run_id)
    name = setup.helpers.get(record.kind)
    if state.has_ended or name is None:
        return
    tallies = WorkTallies(record.kind, open_tallies=lambda: Tallies.at(setup.redis_url))
    run = HelpedRun(
        record,
        runs=runs,
        stop_signals=stop_signals,
        settings=setup.settings,
        timing=setup.timing,
        artifacts=artifacts,
        tallies=tallies,
    )
    module, _, function = name.partition(":")
    _log.info("helping with a run", run_id=run_id, kind=record.kind)
    try:
        with PeriodicThread(tallies.flush, interval_s=setup.timing.flush_s, name="flush tallies"):
            cast(HelperWork, getattr(importlib.import_module(module), function))(run)
    except RunStopped:
        _log.info("help with a run ended early", run_id=run_id)
    except (AtlasError, MemoryError) as error:
        _log.warning("help with a run failed", run_id=run_id, reason=str(error) or type(error).__name__)
        decline_help(run_id, setup=setup)
    except Exception:
        _log.exception("help with a run failed", run_id=run_id)
        decline_help(run_id, setup=setup)
    tallies.flush()


def decline_help(run_id: str, *, setup: WorkSetup) -> None:
    """Decline help with a run for some minutes, since the next helper would fail as well."""
    try:
        HelpQueue(connect(setup.redis_url), timing=setup.timing).decline(run_id)
    except Unavailable as error:
        _log.warning("help could not be declined", run_id=run_id, reason=error.detail)
