"""The demo model in plain transformers: what the panels of the playground are compared with."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.clients.web.world import World
from tests.integration.running import ROOT

_FOLDER = ROOT / "demo" / "model"


@cache
def loaded() -> tuple[Any, Any]:
    """Model in float32 with eager attention, and tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(_FOLDER, dtype=torch.float32, attn_implementation="eager").eval()
    return model, AutoTokenizer.from_pretrained(_FOLDER)


def soft_vectors(world: World, ref: str) -> Tensor:
    """The vectors `[n_virtual, d_model]` of a stored soft prompt."""
    name, _, version = ref.partition("@")
    return load(world.http.get(f"/v1/prompts/{name}/versions/{version}/content").content)["soft"]


class Forward:
    """One text behind soft vectors, or alone: the output of each block, and the attention of each block."""

    def __init__(self, text: str, vectors: Tensor | None = None) -> None:
        model, tokenizer = loaded()
        ids = tokenizer(text, return_tensors="pt").input_ids
        self.n_virtual = 0 if vectors is None else len(vectors)
        embedded = model.get_input_embeddings()(ids)
        given = embedded if vectors is None else torch.cat([vectors[None], embedded], 1)
        outputs: list[Tensor] = []

        def keep(_module: Any, _given: Any, out: Any) -> None:
            outputs.append((out[0] if isinstance(out, tuple) else out)[0])

        hooks = [block.register_forward_hook(keep) for block in model.model.layers]
        with torch.inference_mode():
            self.attentions = [a[0] for a in model(inputs_embeds=given, output_attentions=True).attentions]
        for hook in hooks:
            hook.remove()
        self.states = [states[self.n_virtual :] for states in outputs]

    def lens(self, layer: int) -> Tensor:
        """Log-probabilities `[n_tokens, vocab]` of the final norm and head at the output of a block."""
        model, _ = loaded()
        with torch.inference_mode():
            logprobs: Tensor = model.lm_head(model.model.norm(self.states[layer])).log_softmax(-1)
        return logprobs
