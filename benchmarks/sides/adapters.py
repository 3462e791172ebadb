"""PEFT: one model with a prompt-tuning adapter for each soft prompt, batched by adapter, which is all that PEFT can batch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import PromptTuningConfig, TaskType, get_peft_model
from torch import Tensor

from benchmarks.sides.workload import Ask, left_padded


class AdapterBatches:
    """``set_adapter`` and ``generate`` for each prompt in turn."""

    def __init__(self, module: Any, *, prompts: Sequence[Tensor]) -> None:
        names = [f"prompt-{i}" for i in range(len(prompts))]
        config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=len(prompts[0]))
        with _quiet():
            self._model: Any = get_peft_model(module, config, adapter_name=names[0])
            for name in names[1:]:
                self._model.add_adapter(name, config)
        with torch.no_grad():
            for name, vectors in zip(names, prompts, strict=True):
                self._model.prompt_encoder[name].embedding.weight.copy_(vectors)
        self._model.eval().requires_grad_(False)
        self._names = names

    def complete(self, asks: Sequence[Ask]) -> list[tuple[int, ...]]:
        """Greedy tokens of each ask, the asks of one prompt as one left-padded batch."""
        groups: dict[int, list[int]] = {}
        for i, ask in enumerate(asks):
            groups.setdefault(_prompt_of(ask), []).append(i)
        tokens: list[tuple[int, ...]] = [()] * len(asks)
        for prompt, members in groups.items():
            for i, row in zip(members, self._generate([asks[i] for i in members], prompt=prompt), strict=True):
                tokens[i] = row
        return tokens

    def complete_singly(self, asks: Sequence[Ask]) -> list[tuple[int, ...]]:
        """Greedy tokens of each ask, one after the other: no padding, and so PEFT's right answer."""
        return [self._generate([ask], prompt=_prompt_of(ask))[0] for ask in asks]

    @torch.inference_mode()
    def _generate(self, asks: Sequence[Ask], *, prompt: int) -> list[tuple[int, ...]]:
        self._model.set_adapter(self._names[prompt])
        ids, mask = left_padded([ask.ids for ask in asks])
        with _quiet():
            tokens = self._model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=max(ask.n_new for ask in asks), do_sample=False
            )
        rows = tokens[:, ids.shape[1] :].tolist()
        return [tuple(row[: ask.n_new]) for row, ask in zip(rows, asks, strict=True)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PEFT warns at each call that it drops position ids: what that does is reported with the results."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _prompt_of(ask: Ask) -> int:
    if ask.prompt is None:
        raise ValueError("an adapter benchmark needs a prompt for every ask, got none.")
    return ask.prompt
