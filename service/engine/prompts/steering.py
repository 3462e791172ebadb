"""Steering prompts: vectors added to block outputs at text and generated tokens; no keys, no values, no positions."""

from __future__ import annotations

from collections.abc import Mapping

from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.prompts.compiler import PromptCompiler
from service.engine.prompts.prompt import Prompt
from service.engine.shapes import Tensor


class SteeringCompiler(PromptCompiler):
    """Tensors ``steering.{layer}`` `[d_model]`."""

    def compile(self, model: HostedModel, prompt: Prompt) -> CompiledPrompt:
        nothing = (None,) * model.architecture.n_layers
        return CompiledPrompt(0, nothing, nothing)

    def additions(self, prompt: Prompt) -> Mapping[Tap, Tensor]:
        form = prompt.described
        return {Tap("resid_post", layer): prompt.tensors[form.tensor_name(layer)] for layer in prompt.layers}
