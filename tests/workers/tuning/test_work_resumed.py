"""A tuning run that is stopped or killed and then resumed gives bitwise the same results."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from service.store.prompts.manifests import PromptManifest
from tests.workers.evaluation.fake_run import FakeRun, Killed
from tests.workers.tuning.small_run import SPEC, make_run
from workers.evaluation import evaluator
from workers.running.interface import RunStopped
from workers.tuning.run import tune

FORMS: Mapping[str, Mapping[str, Any]] = {
    "soft": {"priors": [{"kind": "vocabulary"}], "optimizer": {**SPEC["optimizer"], "lr": [0.02, 0.005]}},
    "deep": {
        "method": {"kind": "deep", "n_virtual": 2, "layers": [1, 2], "where": "local"},
        "priors": [{"kind": "gaussian", "fit": {"activations": {"dataset": "words", "n": 20}}}],
        "optimizer": {**SPEC["optimizer"], "accumulate": 2, "warmup": 0.3, "schedule": "cosine", "clip": 0.1},
        "regularize": {"weight": 0.01},
    },
    "prefix": {
        "method": {"kind": "prefix", "n_virtual": 2, "d_reparametrised": 5},
        "priors": [{"kind": "isotropic"}],
        "early_stopping": {"patience": 1, "min_delta": 0.5},
        "seeds": [0],
    },
    "steering": {
        "method": {"kind": "steering", "layers": [1, 2]},
        "priors": [{"kind": "gaussian", "fit": {"activations": {"dataset": "words", "n": 20}}}],
        "regularize": {"weight": 0.01},
    },
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, FakeRun]:
    """An uninterrupted run of each form, with the same small chunks as the other runs."""
    done = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "ROWS_PER_CHUNK", 9)
        for form, changes in FORMS.items():
            done[form] = make_run(tmp_path_factory.mktemp(form), **changes)
            done[form].metrics = dict(tune(done[form]))
    return done


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "ROWS_PER_CHUNK", 9)


def contents(run: FakeRun) -> dict[str, tuple[bytes, PromptManifest]]:
    found = {ref: run.prompts.resolve(ref) for ref in run.made}
    return {ref: (run.prompts.content(manifest), manifest) for ref, manifest in found.items()}


def outputs(run: FakeRun) -> dict[str, bytes]:
    """All outputs except the event files, which contain times."""
    return {path: data for path, data in run.outputs.items() if not path.startswith("tensorboard/")}


def assert_same_results(run: FakeRun, whole: FakeRun) -> None:
    assert run.metrics == whole.metrics
    assert outputs(run) == outputs(whole)
    assert set(run.outputs) == set(whole.outputs)
    assert run.points == whole.points
    assert run.made == whole.made
    for ref, (content, manifest) in contents(run).items():
        expected, known = contents(whole)[ref]
        assert content == expected
        assert manifest.sha256 == known.sha256
        assert manifest.metrics == known.metrics
        assert manifest.notes == known.notes


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("step", [7, 13])
def test_a_killed_run_gives_the_same_results(
    form: str, step: int, whole: Mapping[str, FakeRun], tmp_path: Path
) -> None:
    run = make_run(tmp_path, **FORMS[form])
    run.kill_after = step
    with pytest.raises(Killed):
        tune(run)
    assert run.made == []
    again = run.again()
    again.metrics = dict(tune(again))
    # Checkpoints are three steps apart, and one is at the end of training.
    assert again.steps[0][0] >= step
    assert_same_results(again, whole[form])


def test_a_run_stopped_many_times_gives_the_same_results(whole: Mapping[str, FakeRun], tmp_path: Path) -> None:
    run = make_run(tmp_path, **FORMS["soft"])
    n_attempts = 0
    while not run.metrics:
        run.stop_at = 6
        n_attempts += 1
        try:
            run.metrics = dict(tune(run))
        except RunStopped:
            run = run.again()
        assert n_attempts < 100
    assert n_attempts > 4
    assert_same_results(run, whole["soft"])


def test_an_attempt_leaves_no_temporary_files_however_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A work horse ends without exit handlers, so nothing else would remove them before the next start."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    run = make_run(tmp_path, checkpoint_every=1000)
    run.stop_at = 6
    with pytest.raises(RunStopped) as stopped:
        tune(run)
    assert stopped.value is not None  # its frames keep all objects of the attempt
    assert list(scratch.iterdir()) == []
    tune(run.again())
    assert list(scratch.iterdir()) == []


def test_stopping_saves_the_last_completed_step(tmp_path: Path) -> None:
    run = make_run(tmp_path, checkpoint_every=1000)
    run.stop_at = 6
    with pytest.raises(RunStopped):
        tune(run)
    # One after the draws and one after the last step.
    assert run.n_checkpoints == 2
    again = run.again()
    tune(again)
    assert again.steps[0] == (run.steps[-1][0] + 1, run.steps[-1][1])


def test_a_run_killed_before_its_first_checkpoint_starts_again(whole: Mapping[str, FakeRun], tmp_path: Path) -> None:
    run = make_run(tmp_path, **FORMS["deep"])
    run.kill_at = 2  # while the prior's source is read
    with pytest.raises(Killed):
        tune(run)
    assert run.checkpoint is None
    again = run.again()
    again.metrics = dict(tune(again))
    assert_same_results(again, whole["deep"])


def test_a_run_killed_while_it_stores_versions_stores_none_twice(whole: Mapping[str, FakeRun], tmp_path: Path) -> None:
    run = make_run(tmp_path, **FORMS["soft"])
    run.kill_at = whole["soft"].n_checks - 1
    with pytest.raises(Killed):
        tune(run)
    assert len(run.made) == len(whole["soft"].made) - 2
    again = run.again()
    again.metrics = dict(tune(again))
    assert_same_results(again, whole["soft"])
    names = {ref.partition("@")[0] for ref in again.made}
    assert all(len(run.prompts.list_versions(name).items) == 1 for name in names)
