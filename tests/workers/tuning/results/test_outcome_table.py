from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from promptatlas.types.priors import XavierPrior

from service.planning.checks.members import PlannedMember
from service.store.prompts.manifests import PromptManifest
from workers.tuning.initialization import RunMember
from workers.tuning.results.outcome_table import Entry, best_of, run_metrics, table_of
from workers.tuning.training.step_report import Outcome


def entry(name: str, metrics: Mapping[str, float]) -> Entry:
    plan = PlannedMember(prior_index=0, prior=XavierPrior(), seed=3, lr=0.5, suffix="")
    manifest = PromptManifest(
        name=name,
        version=2,
        kind="soft",
        n_virtual=1,
        layers=None,
        d_model=2,
        base="b",
        base_revision="r",
        sha256="s",
        created_at="t",
        where=None,
        seed=3,
        run_id="run-1",
        prior={},
        metrics=metrics,
        parent=None,
        notes=None,
    )
    outcome = Outcome(name=name, status="stopped", step=9, validation_loss=None, tensors={"soft": torch.zeros(1, 2)})
    return Entry(member=RunMember(name=name, plan=plan), outcome=outcome, manifest=manifest, metrics=metrics)


def test_the_validation_loss_decides_first() -> None:
    a = entry("a", {"test/f1": 0.9, "validation/loss": 2.0})
    b = entry("b", {"test/f1": 0.1, "validation/loss": 1.0})
    assert best_of([a, b]).entry is b
    assert best_of([a, b]).reason == "validation/loss 1"


def test_without_validation_the_first_metric_decides() -> None:
    a = entry("a", {"test/f1": 0.9, "test/f1_low": 0.0, "bare/test/f1": 0.2, "test/loss": 3.0})
    b = entry("b", {"test/f1": 0.1, "test/f1_low": 0.1, "bare/test/f1": 0.2, "test/loss": 1.0})
    assert best_of([a, b]).entry is a
    losses = [entry("a", {"test/loss": 3.0}), entry("b", {"test/loss": 1.0})]
    assert best_of(losses).entry is losses[1]


def test_a_member_without_the_metric_is_not_the_best() -> None:
    a, b = entry("a", {"test/f1": 0.9}), entry("b", {"test/f1": 0.1, "validation/loss": 1.0})
    assert best_of([a, b]).entry is b


def test_without_metrics_the_first_member_is_the_best() -> None:
    a = entry("a", {})
    assert (best_of([a]).entry, best_of([a]).reason) == (a, "nothing was measured")


def test_a_run_has_the_metrics_of_the_best_member_and_those_of_each_without_intervals() -> None:
    a = entry("a", {"test/loss": 3.0, "test/loss_low": 2.0, "bare/test/loss": 9.0, "draw/test/loss": 8.0})
    b = entry("b", {"test/loss": 1.0, "test/loss_low": 0.5, "bare/test/loss": 9.0, "draw/test/loss": 7.0})
    assert run_metrics([a, b], best=best_of([a, b])) == {**b.metrics, "a/test/loss": 3.0, "b/test/loss": 1.0}
    assert run_metrics([a], best=best_of([a])) == a.metrics


def test_the_table_is_json_in_order() -> None:
    rows = json.loads(table_of([entry("a", {"test/loss": 3.0}), entry("b", {})]))
    assert rows[0] == {
        "name": "a",
        "prompt": "a@2",
        "prior": {"kind": "xavier"},
        "seed": 3,
        "lr": 0.5,
        "status": "stopped",
        "step": 9,
        "metrics": {"test/loss": 3.0},
    }
    assert rows[1]["prompt"] == "b@2"
