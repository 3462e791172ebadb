"""Soft prompts that learn a teacher's top tokens, by the fused trainer and by plain transformers with full logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from promptatlas.types.distillation import DivergenceLoss
from torch import Tensor

from benchmarks.sides.tuning import Tuned, TuningTask, settings_of, trained
from service.engine.model.hosted_model import HostedModel
from workers.inputs.examples import EncodedExample
from workers.tuning.distillation.criterion import DistillationLoss, view_of
from workers.tuning.distillation.lessons import LearnedExample, Lesson, whole
from workers.tuning.distillation.teachers import ModelTeacher
from workers.tuning.training.settings import Member
from workers.tuning.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class TopTokens:
    """Of one example: ids and log-probabilities `[n, k]` of the teacher's top tokens, and of all others together `[n]`."""

    ids: Tensor
    log_probs: Tensor
    log_rest: Tensor


def top_tokens(module: Any, task: TuningTask, *, context: Sequence[int], k: int) -> dict[EncodedExample, TopTokens]:
    """The teacher's top tokens by example: those of the bare model that reads ``context`` in front."""
    found = {}
    for example in task.examples:
        ids = (*context, *example.input_ids, *example.target_ids[:-1])
        with torch.no_grad():
            logits = module(input_ids=torch.tensor([ids])).logits[0, -len(example.target_ids) :]
        log_probs = logits.log_softmax(-1)
        top = log_probs.topk(k, -1)
        rest = log_probs.scatter(1, top.indices, float("-inf")).logsumexp(-1)
        found[example] = TopTokens(ids=top.indices, log_probs=top.values, log_rest=rest)
    return found


class FusedDistillation:
    """All prompts in one trainer. The teacher reads each example when this is made, not while prompts are trained.

    Args:
        context: what the teacher reads in front of each example.
        k: number of top tokens.
        max_bytes: memory limit of a forward.
    """

    def __init__(
        self, hosted: HostedModel, task: TuningTask, *, context: Sequence[int], k: int, max_bytes: int = 4 << 30
    ) -> None:
        self._hosted, self._task, self._max_bytes = hosted, task, max_bytes
        self._examples = [_lesson(i, example, context=context) for i, example in enumerate(task.examples)]
        self._terms = [DivergenceLoss(kind="kl", top_k=k)]
        views = [view_of(term) for term in self._terms]
        self._teacher = ModelTeacher(hosted, prompt=None, views=views, layers=(), max_bytes=max_bytes)
        for example in self._examples:
            self._teacher.teaching(example.lesson)

    def run(self) -> Tuned:
        """Train all prompts from their starts."""
        task = self._task
        trainer = Trainer(
            self._hosted,
            members=[Member(name=str(i), lr=task.lr, start=start) for i, start in enumerate(task.starts)],
            train=self._examples,
            validation=(),
            settings=settings_of(task),
            max_bytes=self._max_bytes,
            criterion=DistillationLoss(self._terms, teacher=self._teacher),
        )
        return trained(trainer)


def distil_plainly(module: Any, task: TuningTask, *, targets: Mapping[EncodedExample, TopTokens]) -> Tuned:
    """Plain transformers, one prompt after the other, with the logits of every token of padded batches."""
    losses, tensors = [], []
    for start in task.starts:
        vectors = start["soft"].clone().requires_grad_()
        losses.append(_train(module, vectors, task, targets=targets))
        tensors.append({"soft": vectors.detach().clone()})
    return Tuned(losses=torch.tensor(losses).T, tensors=tensors)


def _train(
    module: Any, vectors: Tensor, task: TuningTask, *, targets: Mapping[EncodedExample, TopTokens]
) -> list[float]:
    adam = torch.optim.AdamW([vectors], lr=task.lr, weight_decay=0.0)
    losses = []
    for batch in task.batches():
        total = torch.stack(_divergences(module, vectors, batch, targets=targets)).sum()
        loss = total / sum(len(example.target_ids) for example in batch)
        adam.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_([vectors], 1.0)
        adam.step()
        losses.append(float(loss.detach()))
    return losses


def _divergences(
    module: Any, vectors: Tensor, batch: Sequence[EncodedExample], *, targets: Mapping[EncodedExample, TopTokens]
) -> list[Tensor]:
    """The sum over each example's target tokens."""
    rows = [example.input_ids + example.target_ids[:-1] for example in batch]
    longest, n_virtual = max(map(len, rows)), len(vectors)
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * (n_virtual + len(row)) + [0] * (longest - len(row)) for row in rows])
    embedded = module.get_input_embeddings()(ids)
    inputs = torch.cat([vectors.expand(len(batch), -1, -1), embedded], 1)
    log_q = module(inputs_embeds=inputs, attention_mask=mask).logits.float().log_softmax(-1)
    found = []
    for i, example in enumerate(batch):
        last = n_virtual + example.length
        own, teacher = log_q[i, last - len(example.target_ids) : last], targets[example]
        rest = own.scatter(1, teacher.ids, float("-inf")).logsumexp(-1)
        top = (teacher.log_probs.exp() * (teacher.log_probs - own.gather(1, teacher.ids))).sum()
        found.append(top + (teacher.log_rest.exp() * (teacher.log_rest - rest)).sum())
    return found


def _lesson(index: int, example: EncodedExample, *, context: Sequence[int]) -> LearnedExample:
    return whole(
        Lesson(
            split="train",
            index=index,
            input_ids=example.input_ids,
            teacher_ids=(*context, *example.input_ids),
            target_ids=example.target_ids,
        )
    )
