"""From a prior over vectors to the first tensors of a prompt, for every kind.

Every tensor has a generator of its own, made of the seed and the tensor's name: one more layer changes no other.
"""

from __future__ import annotations

from collections.abc import Mapping

import promptatlas.types.priors as wire
import torch
from promptatlas.types.forms import Method, kind_of

from service.engine.model.hosted_model import HostedModel
from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from workers.priors.kinds.prompt import Stored
from workers.priors.kinds.registry import build_prior
from workers.priors.prior import NoDensity, Prior
from workers.priors.sources.sources import Sources
from workers.tuning.training.forms.registry import TRAINING_FORMS


def draw(
    method: Method, prior: wire.Prior, *, seed: int, model: HostedModel, sources: Sources
) -> dict[str, Float[Tensor, "..."]]:
    """The tensors that tuning starts from, in the native format: float32 on the CPU, the same for the same seed.

    Raises:
        as ``build_prior``; InvalidRequest also where the prior's own form is not the method's.
    """
    if isinstance(prior, wire.PromptPrior):
        return _own_tensors(method, prior, sources=sources)
    fitted = priors_of(method, prior, model=model, sources=sources)
    return TRAINING_FORMS[method.kind].draw(fitted, method=method, seed=seed, model=model)


def priors_of(method: Method, prior: wire.Prior, *, model: HostedModel, sources: Sources) -> dict[str, Prior]:
    """The fitted prior of each tensor that is drawn, by the tensor's name.

    A prefix that is compiled from soft vectors has theirs, under ``soft``.
    """
    form = TRAINING_FORMS[method.kind]
    if isinstance(prior, wire.PromptPrior):
        own = _own_tensors(method, prior, sources=sources)
        return {name: Stored(form.as_vectors(tensor), ref=prior.ref) for name, tensor in own.items()}
    spaces = form.spaces(method, prior, model=model, sources=sources)
    return {name: build_prior(prior, space=space, sources=sources) for name, space in spaces.items()}


def log_prob_of(priors: Mapping[str, Prior], tensors: Mapping[str, Float[Tensor, "..."]]) -> Float[Tensor, ""]:
    """Σ log p over all vectors of a prompt in nats, as a penalty needs it: finite and differentiable (MAP).

    Args:
        priors: from ``priors_of``. tensors: in the native format, float32 on any device; the sum comes back there.

    Raises:
        NoDensity: a prior has none, or acts on what the tensors were compiled from.
    """
    missing = sorted(set(tensors) - set(priors))
    if missing:
        raise NoDensity(
            f"the prior acts on {', '.join(sorted(priors))}, not on {', '.join(missing)}: no penalty can follow it.",
            loc=("regularize", "weight"),
        )
    form = TRAINING_FORMS[kind_of(tensors)]
    parts = [priors[name].map_log_prob(form.as_vectors(tensor)).sum() for name, tensor in tensors.items()]
    return torch.stack([part.to(parts[0].device) for part in parts]).sum()


def _own_tensors(method: Method, prior: wire.PromptPrior, *, sources: Sources) -> dict[str, Tensor]:
    prompt = sources.prompt(prior.ref)
    layers = tuple(sorted({sources.layer(i) for i in method.chosen_layers or ()}))
    wanted = (method.kind, method.chosen_where, layers, method.n_positions)
    given = (prompt.kind, prompt.where, prompt.layers, prompt.n_virtual)
    if given != wanted:
        raise InvalidRequest(
            f"the prompt {prior.ref!r} must have the form that is tuned: expected {_in_words(wanted)}, "
            f"got {_in_words(given)}.",
            loc=("prior", "ref"),
        )
    return {name: tensor.clone() for name, tensor in prompt.tensors.items()}


def _in_words(form: tuple[str, str | None, tuple[int, ...], int]) -> str:
    kind, where, layers, n_virtual = form
    chosen = f" {where}" if where else ""
    at = f" at layers {list(layers)}" if layers else ""
    return f"{kind}{chosen}{at} with {n_virtual} vectors"
