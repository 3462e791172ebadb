"""Compiler of steering prompts: vectors that are added to block outputs. They have no positions, keys or values."""

from __future__ import annotations

from collections.abc import Mapping

from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.prompts.compiler import PromptCompiler
from service.engine.prompts.prompt import Prompt
from service.engine.shapes import Tensor


class SteeringCompiler(PromptCompiler):
    """Compiles tensors ``steering.{layer}`` `[d_model]`, which are added to ``resid_post``."""

    def compile(self, model: HostedModel, prompt: Prompt) -> CompiledPrompt:
        empty = (None,) * model.architecture.n_layers
        return CompiledPrompt(0, empty, empty)

    def additions(self, prompt: Prompt) -> Mapping[Tap, Tensor]:
        form = prompt.prompt_form
        return {Tap("resid_post", layer): prompt.tensors[form.tensor_name(layer)] for layer in prompt.layers}
