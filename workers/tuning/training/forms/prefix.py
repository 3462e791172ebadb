"""Training of prefix prompts: keys and values of every layer.

Isotropic and Xavier priors draw `[n_virtual, n_kv_heads·d_head]` for the keys and for the values of each layer. All other
priors draw soft vectors, which are compiled to a prefix.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from promptatlas.types.forms import Method
from promptatlas.types.priors import Prior as PriorSpec

from service.engine.model.block_hooks import BlockCall, Selection
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.prompts.registry import compile_prompt
from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from workers.priors.distributions.random_streams import generator_for
from workers.priors.prior import Prior, Space
from workers.priors.sources.sources import Sources
from workers.tuning.packing.layout import KeysValues
from workers.tuning.training.forms.form import ForwardPass, TrainingForm
from workers.tuning.training.parameters import Parameters, Reparametrised
from workers.tuning.training.settings import Member, TuneSettings


class PrefixTraining(TrainingForm):
    """Trains the tensor ``prefix``."""

    kind = "prefix"
    virtual_axis = 3

    def spaces(self, method: Method, prior: PriorSpec, *, model: HostedModel, sources: Sources) -> dict[str, Space]:
        n = method.n_positions
        if prior.draws_prefix_directly:
            n_heads, d_head = prefix_shape(model)
            return {"prefix": Space(d_model=n_heads * d_head, n_virtual=n)}
        return {"soft": Space(d_model=model.d_model, n_virtual=n)}

    def draw(self, fitted: Mapping[str, Prior], *, method: Method, seed: int, model: HostedModel) -> dict[str, Tensor]:
        n = method.n_positions
        if "prefix" in fitted:
            return {"prefix": _drawn_prefix(fitted["prefix"], n_virtual=n, seed=seed, model=model)}
        soft = fitted["soft"].sample(n, generator=generator_for(seed, "soft"))
        return {"prefix": _compiled_prefix(soft, model=model)}

    def as_vectors(self, tensor: Tensor) -> Float[Tensor, "n d"]:
        """Reshape `[n_layers, 2, n_kv_heads, n_virtual, d_head]` to a vector per layer, key or value, and virtual position."""
        return tensor.transpose(2, 3).flatten(3).flatten(0, 2)

    def parameters(self, member: Member, *, settings: TuneSettings, device: torch.device) -> Parameters:
        if settings.d_reparametrised is None:
            return super().parameters(member, settings=settings, device=device)
        return Reparametrised(
            member.start["prefix"], d_hidden=settings.d_reparametrised, seed=member.seed, device=device
        )

    def enter(
        self, forward: ForwardPass, call: BlockCall, hidden: Tensor
    ) -> tuple[Tensor, KeysValues | None, Selection]:
        pair = forward.stacked["prefix"][:, call.layer].to(hidden.device)
        return hidden, (pair[:, 0], pair[:, 1]), None


def prefix_shape(model: HostedModel) -> tuple[int, int]:
    """(n_kv_heads, d_head) of a prefix. Raises InvalidRequest if the layers of the model differ, so that no prefix fits."""
    shapes = {(layer.n_kv_heads, layer.d_key, layer.d_value) for layer in model.kv_shape.layers}
    (n_heads, d_key, d_value), *others = shapes
    if others or d_key != d_value:
        raise InvalidRequest(
            f"{model.card.name} has layers of different key and value shapes: no prefix prompt fits it.",
            loc=("method",),
        )
    return n_heads, d_key


def _drawn_prefix(prior: Prior, *, n_virtual: int, seed: int, model: HostedModel) -> Tensor:
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
