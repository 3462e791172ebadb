"""Table of the members of a finished run, and the choice of the best one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.store.prompts.manifests import PromptManifest
from workers.tuning.initialization import RunMember
from workers.tuning.training.step_report import Outcome

LESS_IS_BETTER = ("loss", "perplexity")
BOUNDS = ("_low", "_high")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One member with its outcome, its stored version and its metrics."""

    member: RunMember
    outcome: Outcome
    manifest: PromptManifest
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best member. reason: the metric that decided, with its value."""

    entry: Entry
    reason: str

    @property
    def manifest(self) -> PromptManifest:
        return self.entry.manifest


def best_of(entries: Sequence[Entry]) -> Best:
    """The member with the lowest validation loss or, without one, with the best value of the first metric.

    Selecting by validation keeps the test metrics of the best member unbiased.
    """
    for name in ("validation/loss", *_tuned_names(entries[0].metrics)):
        known = [entry for entry in entries if name in entry.metrics]
        if not known:
            continue
        sign = 1 if name.rpartition("/")[2] in LESS_IS_BETTER else -1
        best = min(known, key=lambda entry: sign * entry.metrics[name])
        return Best(entry=best, reason=f"{name} {best.metrics[name]:.4g}")
    return Best(entry=entries[0], reason="nothing was measured")


def run_metrics(entries: Sequence[Entry], *, best: Best) -> dict[str, float]:
    """The best member's metrics. With several members, also ``{name}/{metric}`` of each, without intervals."""
    found = dict(best.entry.metrics)
    if len(entries) > 1:
        for entry in entries:
            found |= {f"{entry.member.name}/{name}": entry.metrics[name] for name in _tuned_names(entry.metrics)}
    return found


def table_of(entries: Sequence[Entry]) -> bytes:
    """Content of ``members.json``: one object per member, in order."""
    rows = [
        {
            "name": entry.member.name,
            "prompt": entry.manifest.ref,
            "prior": entry.member.plan.prior.model_dump(mode="json", by_alias=True),
            "seed": entry.member.plan.seed,
            "lr": entry.member.plan.lr,
            "status": entry.outcome.status,
            "step": entry.outcome.step,
            "metrics": dict(entry.metrics),
        }
        for entry in entries
    ]
    return json.dumps(rows, indent=2, allow_nan=False).encode()


def _tuned_names(metrics: Mapping[str, float]) -> list[str]:
    """Names of the metrics after tuning, without bounds of intervals."""
    return [
        name for name in metrics if not name.startswith(("draw/", "bare/", "teacher/")) and not name.endswith(BOUNDS)
    ]
