"""Lineage of a tuned prompt: its notes, which complete the prior, seed and metrics of its manifest."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy
from promptatlas.types.priors import PromptPrior
from promptatlas.types.tuning import TuneSpec

from service.engine.model.card import ModelCard
from service.store.datasets.items import DatasetInfo
from workers.tuning.initialization import Initialization, RunMember
from workers.tuning.training.step_report import Outcome

MAX_INLINE_BYTES = 12 << 10
"""Longest spec, as JSON, that the notes repeat. The notes of a longer one refer to ``spec.json`` of the run."""


def notes_of(
    member: RunMember,
    *,
    outcome: Outcome,
    spec: TuneSpec,
    run_id: str,
    initialization: Initialization,
    dataset: DatasetInfo,
    card: ModelCard,
) -> dict[str, Any]:
    """The notes of a member's prompt, as JSON.

    ``repeat`` has commands that tune this member again. Its vectors are the same up to rounding, and bitwise the same if
    the run had one member.
    """
    return {
        "run": run_id,
        "dataset": {"name": dataset.name, "sha256": dataset.sha256, "template": _template(spec, dataset)},
        "base": {"name": card.name, "revision": card.revision, "architecture": card.architecture},
        "device": {"name": card.device, "dtype": card.dtype},
        "prior_facts": initialization.facts.get(str(member.plan.prior_index), {}),
        "lr": member.plan.lr,
        "step": outcome.step,
        "status": outcome.status,
        "versions": _versions(card),
        "repeat": _repeat(member_spec(spec, member), kind=spec.run_kind, run_id=run_id),
    }


def parent_of(member: RunMember) -> str | None:
    """Reference of the prompt that a member was initialized from; None for other priors."""
    return member.plan.prior.ref if isinstance(member.plan.prior, PromptPrior) else None


def member_spec(spec: TuneSpec, member: RunMember) -> dict[str, Any]:
    """The spec that tunes only this member."""
    plan = member.plan
    optimizer = spec.optimizer.model_copy(update={"lr": plan.lr})
    changes = {"name": member.name, "priors": [plan.prior], "seeds": [plan.seed], "optimizer": optimizer}
    return spec.model_copy(update=changes).model_dump(mode="json", by_alias=True)


def _template(spec: TuneSpec, dataset: DatasetInfo) -> dict[str, Any] | None:
    template = spec.template or dataset.template
    return template.model_dump(mode="json") if template is not None else None


def _versions(card: ModelCard) -> dict[str, str]:
    try:
        version = metadata.version("promptatlas")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return {**card.versions, "promptatlas": version, "numpy": numpy.__version__, "python": platform.python_version()}


def _repeat(spec: Mapping[str, Any], *, kind: str, run_id: str) -> dict[str, str]:
    post = (
        'curl -X POST "$PROMPTATLAS_URL/v1/runs" -H "Authorization: Bearer $PROMPTATLAS_API_KEY" '
        "-H 'Content-Type: application/json' -d "
    )
    body = json.dumps({"kind": kind, "spec": spec}, ensure_ascii=False)
    if len(body.encode()) <= MAX_INLINE_BYTES:
        return {
            "curl": post + shlex.quote(body),
            "python": f"from promptatlas import Client; Client().runs.create({kind!r}, {spec!r})",
        }
    address = f'"$PROMPTATLAS_URL/v1/runs/{run_id}/artifacts/spec.json"'
    return {
        "curl": f'curl -H "Authorization: Bearer $PROMPTATLAS_API_KEY" {address} '
        f"| jq '{{kind: \"{kind}\", spec: .}}' | {post}@-",
        "python": f"from promptatlas import Client; c = Client(); c.runs.create({kind!r}, c.runs.get({run_id!r}).spec)",
    }
