"""Planning of ``report`` runs."""

from __future__ import annotations

from promptatlas.types import Prior, PromptPrior
from promptatlas.types.reports import ReportSpec

from service.errors import InvalidRequest
from service.planning.checks.distinct import require_distinct
from service.planning.checks.examples import held_out_split
from service.planning.checks.methods import check_room, layers_of
from service.planning.checks.priors import DrawTarget, complete_priors
from service.planning.checks.prompt_refs import pin_prompts
from service.planning.context import Base, Resolver

N_DRAWN = 100
"""Vectors that a report draws from each of its priors."""

MIN_TEXTS = 20


def complete_report(spec: ReportSpec, resolver: Resolver) -> ReportSpec:
    """The spec with layers counted from 0 and pinned prompts and priors.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    base = resolver.model(spec.model)
    _check_datasets(spec, resolver)
    check_room(0, base=base, at=("max_tokens",), n_text=1 + spec.max_tokens)
    layers = spec.layers if spec.layers == "all" else list(layers_of(spec.layers, base=base, at=("layers",)))
    prompts, _ = pin_prompts(spec.prompts, base=base, resolver=resolver, at=("prompts",))
    return spec.model_copy(
        update={"layers": layers, "prompts": prompts, "priors": _complete_priors(spec, base, resolver)}
    )


def _check_datasets(spec: ReportSpec, resolver: Resolver) -> None:
    require_distinct(spec.datasets, what="datasets", at=("datasets",))
    for i, name in enumerate(spec.datasets):
        at = ("datasets", i)
        info = resolver.dataset(name, at=at)
        split = held_out_split(info)
        n_read = 0 if split is None else info.splits[split]
        if n_read < MIN_TEXTS:
            raise InvalidRequest(
                f"Expected at least {MIN_TEXTS} texts in the split that a report reads; {name!r} has {n_read}.", loc=at
            )


def _complete_priors(spec: ReportSpec, base: Base, resolver: Resolver) -> list[Prior]:
    for i, prior in enumerate(spec.priors):
        if isinstance(prior, PromptPrior):
            raise InvalidRequest("Expected no prompt among the priors; add it to prompts.", loc=("priors", i, "kind"))
    target = DrawTarget.vectors(N_DRAWN, layer=None, base=base, resolver=resolver)
    return complete_priors(spec.priors, target=target, at=("priors",))
