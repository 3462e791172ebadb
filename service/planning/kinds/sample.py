"""Planning of ``sample`` runs: draws of a prior before tuning."""

from __future__ import annotations

from promptatlas.types import SampleBody

from service.planning.checks.methods import layer_of
from service.planning.checks.priors import DrawTarget, complete_prior
from service.planning.context import Resolver


def complete_sample(spec: SampleBody, resolver: Resolver) -> SampleBody:
    """The spec with pinned references of its prior.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    base = resolver.model(spec.model)
    layer = None if spec.layer is None else layer_of(spec.layer, base=base, at=("layer",))
    target = DrawTarget.vectors(spec.n, layer=layer, base=base, resolver=resolver)
    return spec.model_copy(update={"prior": complete_prior(spec.prior, target=target, at=("prior",))})
