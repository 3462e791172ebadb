"""From a prior over vectors to the first tensors of a prompt: soft, deep or prefix.

Every tensor has a generator of its own, made of the seed and the tensor's name: one more layer changes no other.

A prefix is keys and values. Isotropic and Xavier are drawn directly over `[n_virtual, n_kv_heads·d_head]` of each layer's keys
and values; all other priors live where vectors do, so soft vectors are drawn and the prefix is what they compile to.
"""

from __future__ import annotations

from collections.abc import Mapping

import promptatlas.types.priors as wire
import torch
from promptatlas.types.tuning import DeepMethod, Method, PrefixMethod

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, compile_prompt
from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from workers.priors.distributions.random_streams import generator_for
from workers.priors.kinds.prompt import Stored
from workers.priors.kinds.registry import build_prior
from workers.priors.prior import NoDensity, Prior, Space
from workers.priors.sources.sources import Sources


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
    if not isinstance(method, PrefixMethod):
        return {
            name: each.sample(method.n_virtual, generator=generator_for(seed, name)) for name, each in fitted.items()
        }
    if "prefix" in fitted:
        return {"prefix": _direct_prefix(fitted["prefix"], n_virtual=method.n_virtual, seed=seed, model=model)}
    soft = fitted["soft"].sample(method.n_virtual, generator=generator_for(seed, "soft"))
    return {"prefix": _compiled_prefix(soft, model=model)}


def priors_of(method: Method, prior: wire.Prior, *, model: HostedModel, sources: Sources) -> dict[str, Prior]:
    """The fitted prior of each tensor that is drawn: ``soft``, ``deep.{layer}``, or ``prefix`` where that is drawn directly.

    A prefix that is compiled from soft vectors has theirs, under ``soft``.
    """
    if isinstance(prior, wire.PromptPrior):
        own = _own_tensors(method, prior, sources=sources)
        return {name: Stored(_as_vectors(name, tensor), ref=prior.ref) for name, tensor in own.items()}
    n = method.n_virtual
    if isinstance(method, DeepMethod):
        layers = sorted({sources.layer(layer) for layer in method.layers})
        spaces = {f"deep.{layer}": Space(d_model=model.d_model, n_virtual=n, layer=layer) for layer in layers}
    elif isinstance(method, PrefixMethod) and prior.draws_prefix_directly:
        n_heads, d_head = prefix_shape(model)
        spaces = {"prefix": Space(d_model=n_heads * d_head, n_virtual=n)}
    else:
        spaces = {"soft": Space(d_model=model.d_model, n_virtual=n)}
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
    parts = [priors[name].map_log_prob(_as_vectors(name, tensor)).sum() for name, tensor in tensors.items()]
    return torch.stack([part.to(parts[0].device) for part in parts]).sum()


def prefix_shape(model: HostedModel) -> tuple[int, int]:
    """(n_kv_heads, d_head) of a prefix; InvalidRequest for a model whose layers differ, which no prefix fits."""
    shapes = {(layer.n_kv_heads, layer.d_key, layer.d_value) for layer in model.kv_shape.layers}
    (n_heads, d_key, d_value), *others = shapes
    if others or d_key != d_value:
        raise InvalidRequest(
            f"{model.card.name} has layers of different key and value shapes: no prefix prompt fits it.",
            loc=("method",),
        )
    return n_heads, d_key


def _as_vectors(name: str, tensor: Tensor) -> Tensor:
    """`[n_layers, 2, n_kv_heads, n_virtual, d_head]` → one vector for each layer, key or value, and virtual position."""
    return tensor.transpose(2, 3).flatten(3).flatten(0, 2) if name == "prefix" else tensor


def _direct_prefix(prior: Prior, *, n_virtual: int, seed: int, model: HostedModel) -> Tensor:
    n_heads, d_head = prefix_shape(model)
    pairs = [
        torch.stack([prior.sample(n_virtual, generator=generator_for(seed, f"prefix.{layer}.{part}")) for part in "kv"])
        for layer in range(model.architecture.n_layers)
    ]
    drawn = torch.stack(pairs)
    return drawn.view(*drawn.shape[:3], n_heads, d_head).transpose(2, 3).contiguous()


def _compiled_prefix(soft: Tensor, *, model: HostedModel) -> Tensor:
    prefix_shape(model)
    with torch.inference_mode():
        compiled = compile_prompt(model, Prompt("soft", {"soft": soft}))
        pairs = zip(compiled.keys, compiled.values, strict=True)
        stacked = [torch.stack([t.float().cpu() for t in pair if t is not None]) for pair in pairs]
    return torch.stack(stacked).clone()


def _own_tensors(method: Method, prior: wire.PromptPrior, *, sources: Sources) -> dict[str, Tensor]:
    prompt = sources.prompt(prior.ref)
    layers = tuple(sorted({sources.layer(i) for i in method.layers})) if isinstance(method, DeepMethod) else ()
    where = method.where if isinstance(method, DeepMethod) else None
    wanted = (method.kind, where, layers, method.n_virtual)
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
    deep = f" {where} at layers {list(layers)}" if kind == "deep" else ""
    return f"{kind}{deep} with {n_virtual} vectors"
