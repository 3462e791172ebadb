"""Compiler of deep prompts: vectors that replace block inputs, from which keys and values are computed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.attention.metadata import RecordingMetadata
from service.engine.model.hooks import Change, Read
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.prompts.compiler import PromptCompiler, compiled_from, ignore, run_vectors
from service.engine.prompts.prompt import Prompt
from service.engine.shapes import Tensor


class DeepCompiler(PromptCompiler):
    """Compiles tensors ``deep.{layer}``, which replace block inputs."""

    def compile(self, model: HostedModel, prompt: Prompt) -> CompiledPrompt:
        n_layers = model.architecture.n_layers
        metadata = self.run(model, prompt, reads=(), on_read=ignore)
        layers = [layer for layer in range(n_layers) if self.has_states(prompt, layer)]
        return compiled_from(metadata, n_virtual=prompt.n_virtual, layers=layers, n_layers=n_layers)

    def has_states(self, prompt: Prompt, layer: int) -> bool:
        return layer in prompt.layers if prompt.where == "local" else layer >= prompt.layers[0]

    def has_head_states(self, prompt: Prompt) -> bool:
        return prompt.where == "carried"

    def run(
        self,
        model: HostedModel,
        prompt: Prompt,
        *,
        reads: Sequence[Tap],
        on_read: Read,
    ) -> RecordingMetadata:
        """Without reads, the run stops at the attention of the last layer with keys and values."""
        top = prompt.layers[-1] if prompt.where == "local" else model.architecture.n_layers - 1
        changes = {
            Tap("resid_pre", layer): [_replace_by(prompt.tensors[prompt.prompt_form.tensor_name(layer)])]
            for layer in prompt.layers
        }
        return run_vectors(
            model,
            torch.zeros(prompt.n_virtual, model.d_model),
            changes=changes,
            last_layer=None if reads else top,
            reads=reads,
            on_read=on_read,
        )


def _replace_by(vectors: Tensor) -> Change:
    return lambda hidden: vectors.to(device=hidden.device, dtype=hidden.dtype)
