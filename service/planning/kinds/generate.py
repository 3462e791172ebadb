"""Planning of ``generate`` runs."""

from __future__ import annotations

import json
from typing import Any

from promptatlas.types.generation import FieldContext, GenerateSpec

from service.errors import InvalidRequest, NotFound
from service.planning.checks.answers import answer_metric, check_rule
from service.planning.checks.contexts import check_chat, check_context
from service.planning.checks.distinct import require_distinct
from service.planning.checks.examples import has_answers, n_available
from service.planning.checks.methods import check_room
from service.planning.checks.prompt_refs import pin_prompt
from service.planning.context import Resolver
from service.store.datasets.items import DatasetInfo

RESERVED_FIELDS = frozenset(
    (
        *("input", "target", "answers", "answer", "n_steps", "n_tokens", "finish_reason", "correct", "item", "sample"),
        *("seed", "prompt", "revision", "task", "split"),
    )
)
"""Fields of the records that a run makes."""


def complete_generate(spec: GenerateSpec, resolver: Resolver) -> GenerateSpec:
    """The spec with pinned prompts and a metric; the number of items and samples goes to the resolver.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    dataset = resolver.dataset(spec.dataset, at=("dataset",))
    if not has_answers(dataset, template=spec.template):
        raise InvalidRequest(
            f"Expected a dataset of inputs and targets; {spec.dataset!r} has running text. A template can produce both.",
            loc=("dataset",),
        )
    n_items = n_available(dataset, split=spec.split, name=spec.dataset, at=("split",))
    n_items = n_items if spec.n_items is None else min(spec.n_items, n_items)
    _check_sampling(spec)
    _check_context(spec, dataset)
    _check_name(spec.name, resolver)
    changes: dict[str, Any] = {"metric": answer_metric(spec.metric, rule=spec.answer, at=("metric",))}
    if spec.teacher is None:
        changes["prompt_refs"] = _pin_prompts(spec, resolver)
    else:
        _check_teacher(spec, resolver)
    resolver.estimate = {"n_items": n_items, "n_samples": n_items * len(spec.prompt_refs) * spec.n}
    return spec.model_copy(update=changes)


def _check_sampling(spec: GenerateSpec) -> None:
    if spec.temperature == 0 and spec.n > 1:
        raise InvalidRequest(
            f"Expected n of 1 at temperature 0, where all samples are equal; got {spec.n}.", loc=("n",)
        )
    if spec.min_tokens > spec.max_tokens:
        raise InvalidRequest(
            f"Expected min_tokens of at most max_tokens, {spec.max_tokens}; got {spec.min_tokens}.", loc=("min_tokens",)
        )
    check_rule(spec.answer, at=("answer",))


def _check_context(spec: GenerateSpec, dataset: DatasetInfo) -> None:
    check_context(spec.context, dataset=dataset, at=("context",))
    if isinstance(spec.context, FieldContext) and spec.context.field in RESERVED_FIELDS:
        raise InvalidRequest(
            f"Expected a field whose name is not one of those of samples ({', '.join(sorted(RESERVED_FIELDS))}), because the "
            f"records of {spec.name!r} keep it; got {spec.context.field!r}.",
            loc=("context", "field"),
        )


def _check_name(name: str, resolver: Resolver) -> None:
    try:
        resolver.context.datasets.get(name)
    except NotFound:
        return
    raise InvalidRequest(
        f"Expected the name of a new dataset; {name!r} exists. Delete it first, or use another name.", loc=("name",)
    )


def _pin_prompts(spec: GenerateSpec, resolver: Resolver) -> list[Any]:
    base = resolver.model(spec.model)
    has_template = resolver.card(base.name).get("has_chat_template", False)
    check_chat(spec.context, name=base.name, has_chat_template=has_template, at=("context",))
    pinned = []
    for i, ref in enumerate(spec.prompt_refs):
        known, n_virtual = pin_prompt(ref, base=base, resolver=resolver, at=("prompt_refs", i))
        # A limit that was not given is reduced to what the context leaves.
        is_given = "max_tokens" in spec.model_fields_set
        at = ("max_tokens",) if is_given else ("prompt_refs", i)
        check_room(n_virtual, base=base, at=at, n_text=1 + (spec.max_tokens if is_given else 1))
        pinned.append(known)
    shown = [json.dumps(ref if ref is None or isinstance(ref, str) else ref.model_dump()) for ref in pinned]
    require_distinct(shown, what="prompts", at=("prompt_refs",))
    return pinned


def _check_teacher(spec: GenerateSpec, resolver: Resolver) -> None:
    known = resolver.context.teachers
    if spec.teacher not in known:
        raise NotFound(
            f"This server has no teacher {spec.teacher!r}; it has {', '.join(sorted(known)) or 'none'}.",
            loc=("teacher",),
        )
    if spec.prompt_refs != [None]:
        raise InvalidRequest(
            "Expected no prompts for a teacher: they are tuned for hosted models.", loc=("prompt_refs",)
        )
