"""Checks of the teacher of a ``distill`` run: what it reads, and whether its distributions fit the students."""

from __future__ import annotations

from promptatlas.types.distillation import DistillSpec, DivergenceLoss, Teacher

from service.errors import InvalidRequest, NotFound
from service.planning.checks.contexts import check_chat, check_context
from service.planning.checks.methods import check_room
from service.planning.checks.prompt_refs import pin_prompt
from service.planning.context import Base, Resolver, card_of
from service.planning.specs import Loc, error_at
from service.store.datasets.items import DatasetInfo


def complete_teacher(spec: DistillSpec, *, base: Base, texts: DatasetInfo, resolver: Resolver) -> Teacher:
    """The teacher with a pinned prompt. texts: the dataset whose targets the students learn.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    teacher = spec.teacher
    if not teacher.runs:
        if teacher.dataset is None:
            raise InvalidRequest("Expected a dataset, a context, a prompt_ref or a model; got none.", loc=("teacher",))
        return teacher
    own = _base_of(teacher, base=base, resolver=resolver)
    has_template, at = resolver.card(own.name).get("has_chat_template", False), ("teacher", "context")
    check_chat(teacher.context, name=own.name, has_chat_template=has_template, at=at)
    check_context(teacher.context, dataset=texts, at=at)
    ref, n_virtual = pin_prompt(teacher.prompt_ref, base=own, resolver=resolver, at=("teacher", "prompt_ref"))
    check_room(n_virtual, base=own, at=("teacher", "prompt_ref"))
    return teacher.model_copy(update={"prompt_ref": ref})


def check_file(term: DivergenceLoss, *, texts: DatasetInfo, base: Base, resolver: Resolver, at: Loc) -> DivergenceLoss:
    """The term with the number of tokens that the dataset has; the worker compares the tokenizers.

    Raises:
        InvalidRequest: the dataset has no most probable tokens, too few, those of other weights, or texts instead of ids; or
            the temperature needs logits.
    """
    traces = texts.traces or {}
    k, model = traces.get("logprobs"), traces.get("model")
    if not k or not traces.get("top_tokens"):
        raise InvalidRequest(
            f"Expected a dataset with most probable tokens, as a generate run with logprobs makes it; {texts.name!r} has "
            "none.",
            loc=at,
        )
    if traces.get("teacher") is not None:
        raise InvalidRequest(
            f"Expected most probable tokens of a hosted model; those of {texts.name!r} are texts of the endpoint "
            f"{traces['teacher']!r}, whose tokenizer is not known.",
            loc=at,
        )
    hosted = resolver.context.models.get(str(model))
    if hosted is None or hosted["revision"] != traces.get("revision"):
        now = "is not hosted here" if hosted is None else f"has revision {hosted['revision']} here"
        raise InvalidRequest(
            f"Expected most probable tokens of a hosted model's weights; those of {texts.name!r} are of {model!r}, revision "
            f"{traces.get('revision')}, which {now}.",
            loc=at,
        )
    if hosted["vocab_size"] != base.vocab_size and model != base.name:
        _refuse_vocabulary(str(model), n=int(hosted["vocab_size"]), base=base, at=at)
    if term.temperature != 1:
        raise InvalidRequest(
            f"Expected temperature 1, because a file of most probable tokens has no logits of the others; got "
            f"{term.temperature:g}.",
            loc=(*at, "temperature"),
        )
    if term.top_k is not None and term.top_k > k:
        raise InvalidRequest(
            f"Expected top_k of at most {k}, the tokens in {texts.name!r}; got {term.top_k}.", loc=(*at, "top_k")
        )
    return term.model_copy(update={"top_k": term.top_k or k})


def _base_of(teacher: Teacher, *, base: Base, resolver: Resolver) -> Base:
    """The teacher's base model, which has the students' vocabulary."""
    if teacher.model is None or teacher.model == base.name:
        return base
    try:
        card = card_of(teacher.model, models=resolver.context.models)
    except NotFound as error:
        raise error_at(error, loc=("teacher", "model")) from error
    own = Base.from_card(teacher.model, card)
    if own.vocab_size != base.vocab_size:
        _refuse_vocabulary(own.name, n=own.vocab_size, base=base, at=("teacher", "model"))
    return own


def _refuse_vocabulary(name: str, *, n: int, base: Base, at: Loc) -> None:
    raise InvalidRequest(
        f"Expected a teacher with the tokenizer of {base.name}, which has a vocabulary of {base.vocab_size}; {name} has {n}.",
        loc=at,
    )
