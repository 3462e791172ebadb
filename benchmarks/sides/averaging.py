"""Plain transformers: the average of the next-token probabilities of several soft prompts, one batch with a cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


@torch.inference_mode()
def complete_on_average(module: Any, ids: Sequence[int], *, prompts: Sequence[Tensor], n_new: int) -> tuple[int, ...]:
    """Greedy tokens of the average. Every row reads ``ids`` after one prompt, and then the same chosen tokens.

    Args:
        prompts: vectors `[n_virtual, d_model]`, equally many of each.
    """
    embed = module.get_input_embeddings()
    vectors = torch.stack(list(prompts))
    text = embed(torch.tensor(ids)).expand(len(prompts), -1, -1)
    inputs = {"inputs_embeds": torch.cat([vectors.to(text.dtype), text], 1)}
    chosen: list[int] = []
    cache = None
    while True:
        out = module(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        average = out.logits[:, -1].float().softmax(-1).mean(0)
        chosen.append(int(average.argmax()))
        if len(chosen) == n_new:
            return tuple(chosen)
        inputs = {"input_ids": torch.full((len(prompts), 1), chosen[-1])}
