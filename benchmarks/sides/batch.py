"""transformers: one static left-padded batch, with soft prompts prepended to the texts as ``inputs_embeds``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.sides.workload import CompletionTask, left_padded


class StaticBatch:
    """``generate`` on static batches, which end with their longest row."""

    def __init__(self, module: Any, *, prompts: Sequence[Tensor] = ()) -> None:
        self._module = module
        self._prompts = prompts

    @torch.inference_mode()
    def complete(self, tasks: Sequence[CompletionTask]) -> list[tuple[int, ...]]:
        """Greedy tokens of each request, cut to the requested length."""
        vectors, mask = self._inputs(tasks)
        n_new = max(task.n_new for task in tasks)
        tokens = self._module.generate(
            inputs_embeds=vectors, attention_mask=mask, max_new_tokens=n_new, do_sample=False
        )
        return [tuple(row[: task.n_new]) for row, task in zip(tokens.tolist(), tasks, strict=True)]

    def _inputs(self, tasks: Sequence[CompletionTask]) -> tuple[Tensor, Tensor]:
        """`[n, longest, d_model]` and the mask `[n, longest]`; ``generate`` counts positions by the mask."""
        embed = self._module.get_input_embeddings()
        rows = [self._row(task, embed) for task in tasks]
        longest = max(len(row) for row in rows)
        vectors = rows[0].new_zeros(len(rows), longest, rows[0].shape[1])
        mask = torch.zeros(len(rows), longest, dtype=torch.long, device=vectors.device)
        for i, row in enumerate(rows):
            vectors[i, longest - len(row) :] = row
            mask[i, longest - len(row) :] = 1
        return vectors, mask

    def _row(self, task: CompletionTask, embed: Any) -> Tensor:
        text: Tensor = embed(torch.tensor(task.ids, device=embed.weight.device))
        return text if task.prompt is None else torch.cat([self._prompts[task.prompt].to(text.dtype), text])


@torch.inference_mode()
def generate(module: Any, ids: Sequence[int], *, n_new: int) -> tuple[int, ...]:
    """Greedy tokens of one text, by ``generate`` on its ids."""
    given = torch.tensor([ids])
    mask = torch.ones_like(given)
    tokens = module.generate(input_ids=given, attention_mask=mask, max_new_tokens=n_new, do_sample=False)
    return tuple(tokens[0, len(ids) :].tolist())


@torch.inference_mode()
def generate_with_states(
    module: Any, texts: Sequence[Sequence[int]], *, n_new: int, layer: int
) -> tuple[list[tuple[int, ...]], list[Tensor]]:
    """Tokens of each text, and the states `[n_read, d_model]` of block ``layer`` at every token read."""
    ids, mask = left_padded(texts)
    out = module.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=n_new,
        do_sample=False,
        output_hidden_states=True,
        return_dict_in_generate=True,
    )
    states = torch.cat([step[layer + 1] for step in out.hidden_states], dim=1)
    tokens = [tuple(row) for row in out.sequences[:, ids.shape[1] :].tolist()]
    return tokens, [states[i, ids.shape[1] - len(text) :] for i, text in enumerate(texts)]
