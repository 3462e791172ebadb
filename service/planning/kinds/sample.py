"""Can a ``sample`` run work: draws of a prior, to be looked at before tuning."""

from __future__ import annotations

from promptatlas.types import PromptPrior, SampleBody

from service.planning.checks.methods import Form, layer_of
from service.planning.checks.priors import Room, complete_prior, complete_vectors
from service.planning.context import Lookup


def complete_sample(spec: SampleBody, lookup: Lookup) -> SampleBody:
    """The spec with its prior's references pinned.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    base = lookup.model(spec.model)
    form = Form(kind="soft", n_virtual=spec.n)
    if spec.layer is not None:
        layer = layer_of(spec.layer, base=base, at=("layer",))
        form = Form(kind="deep", n_virtual=spec.n, layers=(layer,), where="local")
    room = Room(base=base, form=form, lookup=lookup)
    if isinstance(spec.prior, PromptPrior):
        return spec.model_copy(update={"prior": complete_vectors(spec.prior, room=room, at=("prior",))})
    return spec.model_copy(update={"prior": complete_prior(spec.prior, room=room, at=("prior",))})
