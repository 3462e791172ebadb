"""Can a ``tune`` run work, and what are its defaults."""

from __future__ import annotations

from typing import Any

from promptatlas.types import Eval, Split, TuneSpec

from service.errors import InvalidRequest
from service.planning.checks.examples import METRICS_OF_TEXT, check_metrics, check_split, has_answers
from service.planning.checks.members import check_members
from service.planning.checks.memory import check_memory
from service.planning.checks.methods import Form, check_method, check_room
from service.planning.checks.priors import Room, check_density, complete_prior
from service.planning.context import Base, Lookup
from service.store.datasets.items import DatasetInfo

_HELD_OUT: tuple[Split, ...] = ("test", "validation", "train")
"""Splits to measure on by default: the first that has examples."""


def complete_tune(spec: TuneSpec, lookup: Lookup) -> TuneSpec:
    """The spec with every default in it that depends on the model or the dataset.

    Beyond the types' own defaults: ``eval.metrics`` of running text are its loss and perplexity; ``eval.splits`` is the
    first of test, validation and train that has examples; ``keep`` is ``last`` where nothing can be validated on.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    base = lookup.model(spec.model)
    form = check_method(spec.method, base=base)
    check_members(spec)
    _check_optimizer(spec)
    dataset = lookup.dataset(spec.dataset, at=("dataset",))
    check_split(dataset, split="train", name=spec.dataset, at=("dataset",))
    evaluation = _complete_eval(spec, dataset)
    if evaluation.max_tokens is not None:
        check_room(form.n_virtual, base=base, at=("eval", "max_tokens"), n_text=1 + evaluation.max_tokens)
    changes: dict[str, Any] = {
        "priors": _complete_priors(spec, base, form, lookup),
        "eval": evaluation,
        "keep": _keep(spec, dataset),
    }
    complete = spec.model_copy(update=changes)
    check_memory(complete, base=base, form=form, memory_bytes=lookup.around.memory_bytes)
    return complete


def _complete_priors(spec: TuneSpec, base: Base, form: Form, lookup: Lookup) -> list[Any]:
    room = Room(base=base, form=form, lookup=lookup)
    priors = [complete_prior(prior, room=room, at=("priors", i)) for i, prior in enumerate(spec.priors)]
    if spec.regularize.weight > 0:
        for i, prior in enumerate(priors):
            check_density(prior, form=form, index=i)
    return priors


def _check_optimizer(spec: TuneSpec) -> None:
    optimizer = spec.optimizer
    if optimizer.accumulate > optimizer.batch_size:
        raise InvalidRequest(
            f"accumulate cuts the {optimizer.batch_size} examples of a step into forwards, so it is at most "
            f"{optimizer.batch_size}; got {optimizer.accumulate}.",
            loc=("optimizer", "accumulate"),
        )


def _complete_eval(spec: TuneSpec, dataset: DatasetInfo) -> Eval:
    evaluation, asked = spec.eval, spec.eval.model_fields_set
    answers = has_answers(dataset, template=spec.template)
    if "metrics" not in asked and not answers:
        evaluation = evaluation.model_copy(update={"metrics": list(METRICS_OF_TEXT)})
    if "splits" not in asked:
        first = next(split for split in _HELD_OUT if dataset.splits.get(split, 0) > 0)
        evaluation = evaluation.model_copy(update={"splits": [first]})
    check_metrics(evaluation.metrics, answers=answers, at=("eval", "metrics"))
    for i, split in enumerate(evaluation.splits):
        check_split(dataset, split=split, name=spec.dataset, at=("eval", "splits", i))
        if split in evaluation.splits[:i]:
            raise InvalidRequest(f"{split} stands twice.", loc=("eval", "splits", i))
    return evaluation


def _keep(spec: TuneSpec, dataset: DatasetInfo) -> str:
    if dataset.splits.get("validation", 0) > 0:
        return spec.keep
    if spec.early_stopping is not None:
        check_split(dataset, split="validation", name=spec.dataset, at=("early_stopping",))
    if "keep" in spec.model_fields_set and spec.keep == "best":
        check_split(dataset, split="validation", name=spec.dataset, at=("keep",))
    return "last"
