"""Planning of ``evaluate`` runs."""

from __future__ import annotations

from typing import Any

from promptatlas.types import EvaluateSpec

from service.planning.checks.answers import complete_sampling
from service.planning.checks.distinct import require_distinct
from service.planning.checks.examples import METRICS_OF_TEXT, check_metrics, check_split, has_answers
from service.planning.checks.methods import check_room
from service.planning.context import Base, Resolver


def complete_evaluate(spec: EvaluateSpec, resolver: Resolver) -> EvaluateSpec:
    """The spec with pinned prompts; the default metrics of running text are loss and perplexity.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    base = resolver.model(spec.model)
    dataset = resolver.dataset(spec.dataset, at=("dataset",))
    check_split(dataset, split=spec.split, name=spec.dataset, at=("split",))
    answers = has_answers(dataset, template=spec.template)
    changes: dict[str, Any] = {}
    if "metrics" not in spec.model_fields_set and not answers:
        changes["metrics"] = list(METRICS_OF_TEXT)
    changes["prompts"] = _pin_prompts(spec, base, resolver)
    changes["sampling"] = complete_sampling(spec.sampling, answers=answers, at=("sampling",))
    complete = spec.model_copy(update=changes)
    check_metrics(complete.metrics, answers=answers, at=("metrics",))
    return complete


def _pin_prompts(spec: EvaluateSpec, base: Base, resolver: Resolver) -> list[str | None]:
    """The pinned prompts; None is the model without a prompt."""
    pinned: list[str | None] = []
    n_text = 1 + (spec.max_tokens or 1)
    for i, ref in enumerate(spec.prompts):
        at = ("prompts", i)
        known: str | None = None
        n_virtual = 0
        if ref is not None:
            known, manifest = resolver.prompt(ref, base=base, at=at)
            n_virtual = manifest.n_virtual
        check_room(n_virtual, base=base, at=at if spec.max_tokens is None else ("max_tokens",), n_text=n_text)
        pinned.append(known)
    require_distinct([known or "the model without a prompt" for known in pinned], what="prompts", at=("prompts",))
    return pinned
