"""Planning of ``tune`` runs."""

from __future__ import annotations

from typing import Any, TypeVar

from promptatlas.types import Eval, TuneSpec
from promptatlas.types.posteriors import SgldPosterior, SvgdPosterior

from service.errors import InvalidRequest
from service.planning.checks.answers import complete_sampling
from service.planning.checks.distinct import require_distinct
from service.planning.checks.examples import METRICS_OF_TEXT, check_metrics, check_split, has_answers, held_out_split
from service.planning.checks.members import check_members
from service.planning.checks.memory import check_memory
from service.planning.checks.methods import Form, check_method, check_room
from service.planning.checks.posteriors import check_posterior
from service.planning.checks.priors import DrawTarget, check_density, complete_priors
from service.planning.context import Base, Resolver
from service.store.datasets.items import DatasetInfo

Spec = TypeVar("Spec", bound=TuneSpec)


def complete_tune(spec: TuneSpec, resolver: Resolver) -> TuneSpec:
    """The complete spec of a ``tune`` run; see ``complete_training``."""
    return complete_training(spec, resolver)


def complete_training(spec: Spec, resolver: Resolver, *, texts: DatasetInfo | None = None) -> Spec:
    """The spec with the defaults that depend on the model or the dataset.

    ``eval.metrics`` of running text are loss and perplexity; ``eval.splits`` is the first of test, validation and train
    that has examples; ``keep`` is ``last`` if there are no validation examples.

    Args:
        texts: the dataset of the training and validation examples; None: that of the spec.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    base = resolver.model(spec.model)
    form = check_method(spec.method, base=base)
    check_members(spec)
    if spec.posterior is not None:
        check_posterior(spec, form=form)
    _check_optimizer(spec)
    dataset = resolver.dataset(spec.dataset, at=("dataset",))
    texts = texts or dataset
    check_split(texts, split="train", name=texts.name, at=("dataset",))
    evaluation = _complete_eval(spec, dataset)
    if evaluation.max_tokens is not None:
        check_room(form.n_virtual, base=base, at=("eval", "max_tokens"), n_text=1 + evaluation.max_tokens)
    changes: dict[str, Any] = {
        "priors": _complete_priors(spec, base, form, resolver),
        "eval": evaluation,
        "keep": _keep(spec, texts),
    }
    complete = spec.model_copy(update=changes)
    check_memory(complete, base=base, form=form, memory_bytes=resolver.context.memory_bytes)
    return complete


def _complete_priors(spec: TuneSpec, base: Base, form: Form, resolver: Resolver) -> list[Any]:
    target = DrawTarget(base=base, form=form, resolver=resolver, needs_same_form=True)
    priors = complete_priors(spec.priors, target=target, at=("priors",))
    if spec.regularize.weight > 0:
        for i, prior in enumerate(priors):
            check_density(prior, form=form, index=i)
    return priors


def _check_optimizer(spec: TuneSpec) -> None:
    optimizer = spec.optimizer
    if optimizer.accumulate > optimizer.batch_size:
        raise InvalidRequest(
            f"Expected accumulate of at most {optimizer.batch_size}, the number of examples of a step; got "
            f"{optimizer.accumulate}.",
            loc=("optimizer", "accumulate"),
        )


def _complete_eval(spec: TuneSpec, dataset: DatasetInfo) -> Eval:
    evaluation, given = spec.eval, spec.eval.model_fields_set
    answers = has_answers(dataset, template=spec.template)
    if "metrics" not in given and not answers:
        evaluation = evaluation.model_copy(update={"metrics": list(METRICS_OF_TEXT)})
    if "splits" not in given:
        held_out = held_out_split(dataset)
        if held_out is None:
            check_split(dataset, split="test", name=spec.dataset, at=("dataset",))
        evaluation = evaluation.model_copy(update={"splits": [held_out]})
    check_metrics(evaluation.metrics, answers=answers, at=("eval", "metrics"))
    sampling = complete_sampling(evaluation.sampling, answers=answers, at=("eval", "sampling"))
    evaluation = evaluation.model_copy(update={"sampling": sampling})
    for i, split in enumerate(evaluation.splits):
        check_split(dataset, split=split, name=spec.dataset, at=("eval", "splits", i))
    require_distinct(evaluation.splits, what="splits", at=("eval", "splits"))
    return evaluation


def _keep(spec: TuneSpec, texts: DatasetInfo) -> str:
    if isinstance(spec.posterior, SvgdPosterior | SgldPosterior):
        return "last"  # samples, not the vectors with the lowest loss
    if texts.splits.get("validation", 0) > 0:
        return spec.keep
    if spec.early_stopping is not None:
        check_split(texts, split="validation", name=texts.name, at=("early_stopping",))
    if "keep" in spec.model_fields_set and spec.keep == "best":
        check_split(texts, split="validation", name=texts.name, at=("keep",))
    return "last"
