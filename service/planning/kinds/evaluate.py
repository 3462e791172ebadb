"""Can an ``evaluate`` run work, and what are its defaults."""

from __future__ import annotations

from typing import Any

from promptatlas.types import EvaluateSpec

from service.errors import InvalidRequest
from service.planning.checks.examples import METRICS_OF_TEXT, check_metrics, check_split, has_answers
from service.planning.checks.methods import check_room
from service.planning.context import Base, Lookup


def complete_evaluate(spec: EvaluateSpec, lookup: Lookup) -> EvaluateSpec:
    """The spec with its prompts pinned; of running text the default metrics are its loss and perplexity.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    base = lookup.model(spec.model)
    dataset = lookup.dataset(spec.dataset, at=("dataset",))
    check_split(dataset, split=spec.split, name=spec.dataset, at=("split",))
    answers = has_answers(dataset, template=spec.template)
    changes: dict[str, Any] = {}
    if "metrics" not in spec.model_fields_set and not answers:
        changes["metrics"] = list(METRICS_OF_TEXT)
    changes["prompts"] = _pinned(spec, base, lookup)
    complete = spec.model_copy(update=changes)
    check_metrics(complete.metrics, answers=answers, at=("metrics",))
    return complete


def _pinned(spec: EvaluateSpec, base: Base, lookup: Lookup) -> list[str | None]:
    """The prompts, each as the one version that it means; one version under two names would be two equal rows."""
    pinned: list[str | None] = []
    n_text = 1 + (spec.max_tokens or 1)
    for i, ref in enumerate(spec.prompts):
        at = ("prompts", i)
        known: str | None = None
        n_virtual = 0
        if ref is not None:
            known, manifest = lookup.prompt(ref, base=base, at=at)
            n_virtual = manifest.n_virtual
        if known in pinned:
            raise InvalidRequest(f"{'The bare model' if ref is None else known} stands twice.", loc=at)
        check_room(n_virtual, base=base, at=at if spec.max_tokens is None else ("max_tokens",), n_text=n_text)
        pinned.append(known)
    return pinned
