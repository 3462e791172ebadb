from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from promptatlas.types import RUN_KINDS

from service.settings import Settings
from service.store.artifacts.store import ArtifactStore
from service.store.runs.store import RunStore
from workers.jobs import HELPERS, KINDS, run
from workers.running.setup import WorkSetup
from workers.running.stop_signals import StopSignals


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkSetup:
    monkeypatch.setattr(StopSignals, "listen", lambda self: None)  # the signals of this process are pytest's
    return WorkSetup(settings=Settings(home=str(tmp_path), redis_url="redis://127.0.0.1:1/0"), kinds={})


def test_an_outdated_job_does_nothing(setup: WorkSetup) -> None:
    runs = RunStore(ArtifactStore(setup.settings.home))
    run_id = runs.create("tune", spec={}).id
    for attempt in (0, 2):
        run(run_id, attempt, setup=setup)
        assert runs.get(run_id)[1].status == "queued"
    runs.request_cancel(run_id)
    run(run_id, 1, setup=setup)
    assert runs.get(run_id)[1].status == "cancelled"


def test_a_waiting_run_is_executed(setup: WorkSetup) -> None:
    runs = RunStore(ArtifactStore(setup.settings.home))
    run_id = runs.create("tune", spec={}).id
    run(run_id, 1, setup=setup)
    state = runs.get(run_id)[1]
    assert (state.status, state.attempts) == ("failed", 1)
    assert "has no work for runs of kind 'tune'" in str(state.error)


def test_every_kind_of_run_has_a_function_that_performs_it() -> None:
    assert set(KINDS) == set(RUN_KINDS)
    for name in (*KINDS.values(), *HELPERS.values()):
        module, _, function = name.partition(":")
        assert module.startswith("workers.")
        assert callable(getattr(importlib.import_module(module), function))


def test_which_kinds_are_shared_by_workers() -> None:
    assert set(HELPERS) == {"batch", "distill", "generate", "harvest", "tune"}
