"""Initial tensors of prompts, drawn from priors over vectors.

Each tensor has its own generator, derived from the seed and the tensor's name. Adding a layer does not change the draws of
the other layers.
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
    """The initial tensors of a prompt in the native format: float32 on the CPU, deterministic in ``seed``.

    Raises:
        InvalidRequest: the prior is a stored prompt whose form differs from the method's. Also the errors of
            ``build_prior``.
    """
    if isinstance(prior, wire.PromptPrior):
        return _stored_tensors(method, prior, sources=sources)
    fitted = priors_of(method, prior, model=model, sources=sources)
    return TRAINING_FORMS[method.kind].draw(fitted, method=method, seed=seed, model=model)


def priors_of(method: Method, prior: wire.Prior, *, model: HostedModel, sources: Sources) -> dict[str, Prior]:
    """The fitted prior of each drawn tensor, by the tensor's name.

    A prefix that is compiled from soft vectors has one prior, named ``soft``, over those vectors.
    """
    form = TRAINING_FORMS[method.kind]
    if isinstance(prior, wire.PromptPrior):
        stored = _stored_tensors(method, prior, sources=sources)
        return {name: Stored(form.as_vectors(tensor), ref=prior.ref) for name, tensor in stored.items()}
    spaces = form.spaces(method, prior, model=model, sources=sources)
    return {name: build_prior(prior, space=space, sources=sources) for name, space in spaces.items()}


def log_prob_of(priors: Mapping[str, Prior], tensors: Mapping[str, Float[Tensor, "..."]]) -> Float[Tensor, ""]:
    """Σ log p over all vectors of a prompt, in nats: the finite, differentiable log density of a MAP penalty.

    Args:
        priors: from ``priors_of``.
        tensors: in the native format, float32, on any device. The sum is on the device of the first tensor.

    Raises:
        NoDensity: a prior has no density, or acts on the soft vectors that the tensors were compiled from.
    """
    missing = sorted(set(tensors) - set(priors))
    if missing:
        raise NoDensity(
            f"the prior acts on {', '.join(sorted(priors))}, not on {', '.join(missing)}: it cannot act as a penalty.",
            loc=("regularize", "weight"),
        )
    form = TRAINING_FORMS[kind_of(tensors)]
    parts = [priors[name].map_log_prob(form.as_vectors(tensor)).sum() for name, tensor in tensors.items()]
    return torch.stack([part.to(parts[0].device) for part in parts]).sum()


def _stored_tensors(method: Method, prior: wire.PromptPrior, *, sources: Sources) -> dict[str, Tensor]:
    prompt = sources.prompt(prior.ref)
    layers = tuple(sorted({sources.layer(i) for i in method.chosen_layers or ()}))
    expected = (method.kind, method.chosen_where, layers, method.n_positions)
    received = (prompt.kind, prompt.where, prompt.layers, prompt.n_virtual)
    if received != expected:
        raise InvalidRequest(
            f"the prompt {prior.ref!r} must have the form of the tuning method: expected {_in_words(expected)}, "
            f"got {_in_words(received)}.",
            loc=("prior", "ref"),
        )
    return {name: tensor.clone() for name, tensor in prompt.tensors.items()}


def _in_words(form: tuple[str, str | None, tuple[int, ...], int]) -> str:
    kind, where, layers, n_virtual = form
    chosen = f" {where}" if where else ""
    at = f" at layers {list(layers)}" if layers else ""
    return f"{kind}{chosen}{at} with {n_virtual} vectors"
