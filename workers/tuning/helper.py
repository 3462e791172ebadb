"""Helper of a ``tune`` run: trains free parts until none are left or this worker is needed elsewhere."""

from __future__ import annotations

from workers.running.interface import WorkContext
from workers.tuning.context import TuningContext
from workers.tuning.parts.helping import help_train


def help_tune(place: WorkContext) -> None:
    """Train free parts; returns at once if the run is not divided. Raises the errors of ``help_train``."""
    help_train(place, open_context=TuningContext.of)
