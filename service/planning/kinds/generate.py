"""Planning of ``generate`` runs."""

from __future__ import annotations

import json
from typing import Any

from promptatlas.types.answers import LastNumber, PatternMatch
from promptatlas.types.generation import GenerateSpec, Shots

from service.errors import InvalidRequest, NotFound
from service.linear_patterns import LinearPattern
from service.planning.checks.distinct import require_distinct
from service.planning.checks.examples import METRICS_OF_TEXT, check_split, has_answers, n_available
from service.planning.checks.methods import check_room
from service.planning.checks.prompt_refs import pin_prompt
from service.planning.context import Resolver
from service.store.datasets.items import DatasetInfo


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
    changes: dict[str, Any] = {"metric": _metric(spec)}
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
    if isinstance(spec.answer, PatternMatch):
        LinearPattern(spec.answer.pattern, loc=("answer", "pattern"))


def _check_context(spec: GenerateSpec, dataset: DatasetInfo) -> None:
    if isinstance(spec.context, Shots):
        split, n_least = spec.context.split, spec.context.shots + 1
        check_split(dataset, split=split, name=spec.dataset, at=("context", "shots"), n_least=n_least)


def _check_name(name: str, resolver: Resolver) -> None:
    try:
        resolver.context.datasets.get(name)
    except NotFound:
        return
    raise InvalidRequest(
        f"Expected the name of a new dataset; {name!r} exists. Delete it first, or use another name.", loc=("name",)
    )


def _metric(spec: GenerateSpec) -> str:
    if spec.metric in METRICS_OF_TEXT:
        raise InvalidRequest(
            f"Expected a metric that compares answers, got {spec.metric}, which is measured on targets.",
            loc=("metric",),
        )
    return spec.metric or ("numeric_match" if isinstance(spec.answer, LastNumber) else "exact_match")


def _pin_prompts(spec: GenerateSpec, resolver: Resolver) -> list[Any]:
    base = resolver.model(spec.model)
    if isinstance(spec.context, list) and not resolver.card(base.name).get("has_chat_template", False):
        raise InvalidRequest(
            f"Expected a text or shots for {base.name}, which has no chat template; got turns of a chat.",
            loc=("context",),
        )
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
