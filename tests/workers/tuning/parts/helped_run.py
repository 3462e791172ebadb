"""Divided runs of a small model, and a coordinator whose helpers work at once in the same process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.workers.evaluation.fake_run import FakeRun, Killed
from workers.running.interface import RunStopped, WorkContext
from workers.tuning.helper import help_tune
from workers.tuning.parts import division
from workers.tuning.run import tune

N_MEMBERS = 4
"""Members of the small run, which are parts when even small parts are divided."""


def divide_small_runs(patch: pytest.MonkeyPatch) -> None:
    """Make every member of a small run a part."""
    patch.setattr(division, "CPU_TOKENS", 1)
    patch.setattr(division, "PART_FLOP", 1.0)


@dataclass
class Helpers:
    """A coordinator of a run that helpers join when they are requested, each until it leaves, stops or dies.

    helps: the next helpers, each called with its context; without more, help is refused. needed_after: after so many
    checkpoints of a helper a run waits. lingers: so many times the lease of a dead helper is seen before it expires.
    """

    helps: list[Callable[[WorkContext], None]] = field(default_factory=list)
    place: Callable[[], FakeRun] | None = None
    leased: set[str] = field(default_factory=set)
    requested: list[int] = field(default_factory=list)
    came: list[FakeRun] = field(default_factory=list)
    needed_after: int | None = None
    lingers: int = 0
    expiring: dict[str, int] = field(default_factory=dict)
    withdrawn: bool = False
    n_looks: int = 0

    @contextmanager
    def lease(self, part: str) -> Iterator[bool]:
        if part in self.leased:
            yield False
            return
        self.leased.add(part)
        try:
            yield True
        except Killed:
            self.expiring[part] = self.lingers
            raise
        finally:
            if not self.expiring.get(part):
                self.leased.discard(part)

    def unleased(self, parts: Sequence[str]) -> Sequence[str]:
        for part in [part for part, n_left in self.expiring.items() if n_left > 0]:
            self.expiring[part] -= 1
            if self.expiring[part] == 0:
                self.leased.discard(part)
        return [part for part in parts if part not in self.leased]

    def request_helpers(self, n: int) -> int:
        self.requested.append(n)
        if n < 1 or not self.helps or self.place is None:
            return 0
        help_with = self.helps.pop(0)
        self.came.append(self.place())
        with suppress(RunStopped, Killed):
            help_with(self.came[-1])
        return 1

    def runs_are_waiting(self) -> bool:
        self.n_looks += 1
        return self.needed_after is not None and self.n_looks > self.needed_after

    def withdraw_requests(self) -> None:
        self.withdrawn = True


def with_helpers(
    run: FakeRun,
    *helps: Callable[[WorkContext], None],
    needed_after: int | None = None,
    lingers: int = 0,
    **of_helper: Any,
) -> Helpers:
    """Give the run helpers. of_helper: fields of the contexts of the helpers, such as ``kill_at``."""
    helpers = Helpers(helps=list(helps), needed_after=needed_after, lingers=lingers)

    def place() -> FakeRun:
        return FakeRun(
            run.spec,
            run.models,
            run.artifacts,
            run.datasets,
            run_id=run.run_id,
            settings=run.settings,
            coordinator=helpers,
            **of_helper,
        )

    helpers.place = place
    run.coordinator = helpers
    return helpers


def finish(run: FakeRun) -> FakeRun:
    """Perform the run to its end."""
    run.metrics = dict(tune(run))
    return run


def part_files(run: FakeRun) -> list[str]:
    """Names in the store that belong to parts of the run."""
    return [name for name in run.artifacts.names(f"runs/{run.run_id}/checkpoints") if name.startswith("part")]


def contents(run: FakeRun) -> Mapping[str, bytes]:
    """The stored prompts, by reference."""
    return {ref: run.prompts.content(run.prompts.resolve(ref)) for ref in run.made}


def steps_of(run: FakeRun) -> float:
    """Training steps that this worker has made."""
    return run.tallied.get("tuning_steps", 0)


__all__ = [
    "N_MEMBERS",
    "contents",
    "divide_small_runs",
    "finish",
    "help_tune",
    "part_files",
    "steps_of",
    "with_helpers",
]
