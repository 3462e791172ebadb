"""Planning of ``distill`` runs."""

from __future__ import annotations

from typing import Any

from promptatlas.types import Template
from promptatlas.types.answers import PatternMatch
from promptatlas.types.distillation import DistillEval, DistillSpec, DivergenceLoss, StatesLoss

from service.errors import InvalidRequest
from service.linear_patterns import LinearPattern
from service.planning.checks.examples import check_split, has_answers, held_out_split
from service.planning.checks.methods import Form, check_method, layers_of
from service.planning.checks.teachers import check_file, complete_teacher
from service.planning.context import Base, Resolver
from service.planning.kinds.tune import complete_training
from service.planning.specs import Loc, error_at
from service.store.datasets.items import DatasetInfo


def complete_distill(spec: DistillSpec, resolver: Resolver) -> DistillSpec:
    """The spec of a ``tune`` run with a pinned teacher and checked losses.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    if spec.posterior is not None:
        raise InvalidRequest(
            "Expected no posterior in a distill run: the losses of a teacher are no likelihood of data. A tune run on the "
            "teacher's texts has one.",
            loc=("posterior",),
        )
    base = resolver.model(spec.model)
    texts = _texts(spec, resolver)
    _check_target(spec)
    teacher = complete_teacher(spec, base=base, texts=texts, resolver=resolver)
    complete = complete_training(spec.model_copy(update={"teacher": teacher}), resolver, texts=texts)
    form = check_method(spec.method, base=base)
    changes: dict[str, Any] = {"loss": _complete_loss(complete, base=base, form=form, texts=texts, resolver=resolver)}
    changes["eval"] = _complete_other(complete.eval, resolver)
    _check_on_policy(complete)
    return complete.model_copy(update=changes)


def _texts(spec: DistillSpec, resolver: Resolver) -> DatasetInfo:
    """The dataset whose targets the students learn."""
    items = resolver.dataset(spec.dataset, at=("dataset",))
    _require_pairs(items, template=spec.template, at=("dataset",))
    if spec.teacher.dataset in (None, spec.dataset):
        return items
    texts = resolver.dataset(spec.teacher.dataset, at=("teacher", "dataset"))
    _require_pairs(texts, template=None, at=("teacher", "dataset"))
    return texts


def _require_pairs(dataset: DatasetInfo, *, template: Template | None, at: Loc) -> None:
    if not has_answers(dataset, template=template):
        raise InvalidRequest(f"Expected a dataset of inputs and targets; {dataset.name!r} has running text.", loc=at)


def _check_target(spec: DistillSpec) -> None:
    if isinstance(spec.target.answer, PatternMatch):
        LinearPattern(spec.target.answer.pattern, loc=("target", "answer", "pattern"))


def _complete_loss(spec: DistillSpec, *, base: Base, form: Form, texts: DatasetInfo, resolver: Resolver) -> list[Any]:
    found: list[Any] = []
    for i, term in enumerate(spec.loss):
        at = ("loss", i)
        if isinstance(term, StatesLoss):
            found.append(_complete_states(spec, term, base=base, form=form, at=at))
            continue
        if isinstance(term, DivergenceLoss):
            term = _complete_divergence(spec, term, base=base, at=at)
            if not spec.teacher.runs:
                term = check_file(term, texts=texts, base=base, resolver=resolver, at=at)
        found.append(term)
    return found


def _complete_divergence(spec: DistillSpec, term: DivergenceLoss, *, base: Base, at: Loc) -> DivergenceLoss:
    if not term.rest and term.kind != "kl":
        raise InvalidRequest(
            f"Expected rest only for kl, whose form without the other tokens is published; got it for {term.kind}.",
            loc=(*at, "rest"),
        )
    if term.top_k is not None and term.top_k >= base.vocab_size:
        raise InvalidRequest(
            f"Expected top_k below the vocabulary of {base.vocab_size} tokens, or null for all; got {term.top_k}.",
            loc=(*at, "top_k"),
        )
    if not term.rest and term.top_k is None and spec.teacher.runs:
        raise InvalidRequest(
            "Expected top_k with rest false: without it, there are no other tokens.", loc=(*at, "top_k")
        )
    return term


def _complete_states(spec: DistillSpec, term: StatesLoss, *, base: Base, form: Form, at: Loc) -> StatesLoss:
    if not spec.teacher.runs or (spec.teacher.model or spec.model) != spec.model:
        raise InvalidRequest(
            "Expected a teacher with the students' own base for a loss of states: a context or a prompt_ref.", loc=at
        )
    layers = layers_of(term.layers, base=base, at=(*at, "layers"))
    first = form.layers[0] if form.layers else 0
    if layers[0] < first:
        raise InvalidRequest(
            f"Expected layers from {first} on, the first that the prompt affects; states of layer {layers[0]} do not depend "
            "on it.",
            loc=(*at, "layers"),
        )
    return term.model_copy(update={"layers": list(layers)})


def _complete_other(evaluation: DistillEval, resolver: Resolver) -> DistillEval:
    """The evaluation with the split of the text of another domain."""
    other, at = evaluation.other, ("eval", "other")
    if other is None:
        return evaluation
    dataset = resolver.dataset(other.dataset, at=(*at, "dataset"))
    try:
        has_answers(dataset, template=other.template)
    except InvalidRequest as error:
        raise error_at(error, loc=(*at, *(error.loc or ("template",)))) from None
    split = other.split or held_out_split(dataset) or "test"
    check_split(dataset, split=split, name=other.dataset, at=(*at, "split"))
    return evaluation.model_copy(update={"other": other.model_copy(update={"split": split})})


def _check_on_policy(spec: DistillSpec) -> None:
    if spec.on_policy == 0:
        return
    if not spec.teacher.runs:
        raise InvalidRequest(
            "Expected a teacher that the worker runs, which can score the students' own samples; a dataset has texts only.",
            loc=("on_policy",),
        )
    if not any(isinstance(term, DivergenceLoss) for term in spec.loss):
        raise InvalidRequest(
            "Expected a divergence among the losses: no other loss is computed on the students' own samples.",
            loc=("on_policy",),
        )
    if spec.target.part != "chain":
        raise InvalidRequest(
            "Expected the whole chain as the target: the students' own samples have no steps to remove.",
            loc=("target", "part"),
        )
