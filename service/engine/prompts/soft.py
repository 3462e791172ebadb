"""Compiler of soft prompts: vectors that are run through the model once, and whose keys and values are kept."""

from __future__ import annotations

from collections.abc import Sequence

from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.attention.metadata import RecordingMetadata
from service.engine.model.hooks import Read
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.prompts.compiler import PromptCompiler, compiled_from, ignore, run_vectors
from service.engine.prompts.prompt import Prompt


class SoftCompiler(PromptCompiler):
    """Compiles the tensor ``soft``, which replaces token embeddings."""

    def compile(self, model: HostedModel, prompt: Prompt) -> CompiledPrompt:
        n_layers = model.architecture.n_layers
        metadata = self.run(model, prompt, reads=(), on_read=ignore)
        return compiled_from(metadata, n_virtual=prompt.n_virtual, layers=range(n_layers), n_layers=n_layers)

    def has_states(self, prompt: Prompt, layer: int) -> bool:
        return True

    def has_head_states(self, prompt: Prompt) -> bool:
        return True

    def reads_at(self, prompt: Prompt, tap: Tap, *, n_layers: int) -> bool:
        return True

    def run(
        self,
        model: HostedModel,
        prompt: Prompt,
        *,
        reads: Sequence[Tap],
        on_read: Read,
    ) -> RecordingMetadata:
        """Without reads, the run stops at the last layer's attention, which writes the last keys and values."""
        vectors = prompt.tensors["soft"]
        if any(tap.kind == "embed" for tap in reads):
            # The vectors replace the output of the embedding module, which does not run.
            on_read(Tap("embed"), vectors)
        last = None if reads else model.architecture.n_layers - 1
        return run_vectors(
            model,
            vectors,
            changes={},
            last_layer=last,
            reads=reads,
            on_read=on_read,
        )
