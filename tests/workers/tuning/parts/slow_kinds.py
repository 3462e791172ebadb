"""``tune`` with small parts and slow steps. The worker of the run begins when a helper has saved its first checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pytest

from tests.workers.tuning.parts.helped_run import N_MEMBERS, divide_small_runs
from workers.running.interface import SharedRunContext, WorkContext
from workers.tuning import helper, run
from workers.tuning.parts.store import PartStore
from workers.tuning.parts.training import MESSAGES
from workers.tuning.training.step_report import StepReport
from workers.tuning.training_loop import Training

KINDS = {"tune": "tests.workers.tuning.parts.slow_kinds:tune"}
HELPERS = {"tune": "tests.workers.tuning.parts.slow_kinds:help_tune"}
STEP_S = 0.15
HELPED = 1
"""The part of the helper: the worker of the run has leased the first one."""


def tune(place: SharedRunContext) -> Mapping[str, float]:
    """As ``workers.tuning.run.tune``. Its process ends with the run, so nothing is undone."""
    store = PartStore(place.artifacts, run_id=place.run_id)

    def wait_for_helper() -> None:
        while not has_begun(store):
            place.check()
            place.coordinator.request_helpers(N_MEMBERS - 1)
            time.sleep(0.05)

    _slow(wait_for_helper)
    return run.tune(place)


def help_tune(place: WorkContext) -> None:
    """As ``workers.tuning.helper.help_tune``."""
    _slow(lambda: None)
    helper.help_tune(place)


def has_begun(store: PartStore) -> bool:
    """Whether a helper has saved a checkpoint or a result."""
    return store.load_some(HELPED, (MESSAGES,), after=0) is not None or store.find(HELPED) is not None


def _slow(before: Callable[[], None]) -> None:
    patch = pytest.MonkeyPatch()
    divide_small_runs(patch)
    step: Callable[[Training], StepReport | None] = Training.step

    def slow_step(training: Training) -> None:
        before()
        time.sleep(STEP_S)
        step(training)

    patch.setattr(Training, "step", slow_step)
