"""Helping with a run whose attempt is another worker's: no claim, no events, nothing of the run's own is written."""

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
from service.queueing.work_sharing import HelpLine
from service.settings import Settings, default_datasets_path
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.prompts.store import PromptStore
from service.store.runs.records import RunRecord
from service.store.runs.store import RunStore
from workers.running.attempt.team import team_of
from workers.running.interface import Help, RunStopped, Team
from workers.running.model_cache import ModelCache
from workers.running.pool.setup import WorkSetup
from workers.running.pool.stop_signals import StopSignals

if TYPE_CHECKING:
    from service.engine.model.hosted_model import HostedModel

_log = structlog.get_logger(__name__)


class HelpedRun:
    """A run as one who helps with it sees it; a :class:`workers.running.interface.Workplace`.

    Args:
        record: of the run.
        runs: says whether it still goes on.
        orders: what this process was told.
        settings, timing: of this process.
        artifacts: the store.
        clock: steady seconds.
    """

    def __init__(
        self,
        record: RunRecord,
        *,
        runs: RunStore,
        orders: StopSignals,
        settings: Settings,
        timing: Intervals,
        artifacts: ArtifactStore,
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
        self._team = team_of(record.id, settings=settings, timing=timing)
        self._models = ModelCache(settings)
        self._runs = runs
        self._orders = orders
        self._look_s = timing.look_s
        self._clock = clock
        self._looked_s: float | None = None

    @property
    def team(self) -> Team:
        """Those who work on the run."""
        return self._team

    def load_model(self, name: str) -> HostedModel:
        """The base model of that name; NotFound when this worker has none such."""
        return self._models.get(name)

    def check(self) -> None:
        """Raise RunStopped when told to stop, or when the run has ended or shall end."""
        if self._orders.given is not None:
            raise RunStopped
        now_s = self._clock()
        if self._looked_s is None or now_s - self._looked_s >= self._look_s:
            self._looked_s = now_s
            _, state = self._runs.get(self.run_id)
            if state.has_ended or state.cancel_requested:
                raise RunStopped


def help_along(run_id: str, *, setup: WorkSetup, orders: StopSignals, runs: RunStore, artifacts: ArtifactStore) -> None:
    """Help with a run until there is nothing to do. What goes wrong is this helper's affair: the run goes on without it."""
    record, state = runs.get(run_id)
    name = setup.helpers.get(record.kind)
    if state.has_ended or name is None:
        return
    run = HelpedRun(record, runs=runs, orders=orders, settings=setup.settings, timing=setup.timing, artifacts=artifacts)
    module, _, function = name.partition(":")
    _log.info("helping with a run", run_id=run_id, kind=record.kind)
    try:
        cast(Help, getattr(importlib.import_module(module), function))(run)
    except RunStopped:
        _log.info("help with a run ended early", run_id=run_id)
    except (AtlasError, MemoryError) as error:
        _log.warning("could not help with a run", run_id=run_id, reason=str(error) or type(error).__name__)
        decline_help(run_id, setup=setup)
    except Exception:
        _log.exception("could not help with a run", run_id=run_id)
        decline_help(run_id, setup=setup)


def decline_help(run_id: str, *, setup: WorkSetup) -> None:
    """Let nobody be asked for some minutes: the next one would fare no better."""
    try:
        HelpLine(connect(setup.redis_url), timing=setup.timing).decline(run_id)
    except Unavailable as error:
        _log.warning("help could not be declined", run_id=run_id, reason=error.detail)
