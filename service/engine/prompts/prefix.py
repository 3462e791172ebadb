"""Compiler of prefix prompts, whose tensors are keys and values."""

from __future__ import annotations

from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.compiler import PromptCompiler
from service.engine.prompts.prompt import Prompt
from service.errors import InvalidRequest


class PrefixCompiler(PromptCompiler):
    """Splits the tensor ``prefix`` into layers."""

    def compile(self, model: HostedModel, prompt: Prompt) -> CompiledPrompt:
        shape = model.kv_shape
        stacked = prompt.tensors["prefix"].to(shape.dtype)
        if model.division is not None:
            stacked = model.division.own_heads(stacked, dim=2)
        pairs = [stacked[i].to(layer.device) for i, layer in enumerate(shape.layers)]
        return CompiledPrompt(prompt.n_virtual, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))

    def check(self, model: HostedModel, prompt: Prompt) -> None:
        if not model.kv_shape.is_even:
            raise InvalidRequest(
                f"{model.card.name} has layers of different key and value shapes: no prefix prompt fits it."
            )
        super().check(model, prompt)

    def has_states(self, prompt: Prompt, layer: int) -> bool:
        return True
