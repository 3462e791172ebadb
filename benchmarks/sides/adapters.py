"""PEFT: one model with a prompt-tuning adapter per soft prompt, batched by adapter."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import PromptTuningConfig, TaskType, get_peft_model
from torch import Tensor

from benchmarks.sides.workload import CompletionTask, left_padded


class AdapterBatches:
    """Calls ``set_adapter`` and ``generate`` for each prompt in turn."""

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

    def complete(self, tasks: Sequence[CompletionTask]) -> list[tuple[int, ...]]:
        """Greedy tokens of each request; requests of one prompt form one left-padded batch."""
        groups: dict[int, list[int]] = {}
        for i, task in enumerate(tasks):
            groups.setdefault(_prompt_of(task), []).append(i)
        tokens: list[tuple[int, ...]] = [()] * len(tasks)
        for prompt, members in groups.items():
            for i, row in zip(members, self._generate([tasks[i] for i in members], prompt=prompt), strict=True):
                tokens[i] = row
        return tokens

    def complete_singly(self, tasks: Sequence[CompletionTask]) -> list[tuple[int, ...]]:
        """Greedy tokens of each request, one at a time, without padding: the correct result of PEFT."""
        return [self._generate([task], prompt=_prompt_of(task))[0] for task in tasks]

    @torch.inference_mode()
    def _generate(self, tasks: Sequence[CompletionTask], *, prompt: int) -> list[tuple[int, ...]]:
        self._model.set_adapter(self._names[prompt])
        ids, mask = left_padded([task.ids for task in tasks])
        with _quiet():
            tokens = self._model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=max(task.n_new for task in tasks), do_sample=False
            )
        rows = tokens[:, ids.shape[1] :].tolist()
        return [tuple(row[: task.n_new]) for row, task in zip(rows, tasks, strict=True)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the warning of PEFT that it drops position ids; the effect is reported with the results."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _prompt_of(task: CompletionTask) -> int:
    if task.prompt is None:
        raise ValueError("an adapter benchmark needs a prompt for every task, got none.")
    return task.prompt
