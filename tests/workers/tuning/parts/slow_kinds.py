"""``tune`` with small parts and slow steps, so that several workers share a run of some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import pytest

from tests.workers.tuning.parts.helped_run import divide_small_runs
from workers.running.interface import SharedRunContext, WorkContext
from workers.tuning import helper, run
from workers.tuning.training.step_report import StepReport
from workers.tuning.training_loop import Training

KINDS = {"tune": "tests.workers.tuning.parts.slow_kinds:tune"}
HELPERS = {"tune": "tests.workers.tuning.parts.slow_kinds:help_tune"}
STEP_S = 0.15


def tune(place: SharedRunContext) -> Mapping[str, float]:
    """As ``workers.tuning.run.tune``. Its process ends with the run, so nothing is undone."""
    _slow()
    return run.tune(place)


def help_tune(place: WorkContext) -> None:
    """As ``workers.tuning.helper.help_tune``."""
    _slow()
    helper.help_tune(place)


def _slow() -> None:
    patch = pytest.MonkeyPatch()
    divide_small_runs(patch)
    step: Callable[[Training], StepReport | None] = Training.step

    def slow_step(training: Training) -> None:
        time.sleep(STEP_S)
        step(training)

    patch.setattr(Training, "step", slow_step)
