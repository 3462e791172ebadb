"""Soft prompts tuned by the fused trainer and by PEFT, on the same examples in the same order."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import PromptTuningConfig, TaskType, get_peft_model
from promptatlas.types.forms import Where
from torch import Tensor

from benchmarks.sides.workload import random_texts
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Kind
from workers.inputs.examples import EncodedExample
from workers.tuning.packing.batches import Order
from workers.tuning.training.settings import LogProb, Member, PosteriorSettings, TuneSettings
from workers.tuning.training.trainer import Trainer

IGNORED = -100
"""Label of tokens without loss in transformers."""


@dataclass(frozen=True, kw_only=True)
class TuningTask:
    """Task of every side: AdamW with a constant rate, gradient clipping at norm 1, examples in the order of seed 0.

    starts: the draw of each prompt, in the native format.
    """

    examples: Sequence[EncodedExample]
    starts: Sequence[Mapping[str, Tensor]]
    n_steps: int
    batch_size: int = 8
    lr: float = 1e-3
    kind: Kind = "soft"
    where: Where | None = None

    def batches(self) -> list[list[EncodedExample]]:
        """The examples of each step."""
        order = Order(len(self.examples), batch_size=self.batch_size, seed=0)
        return [[self.examples[i] for i in order.batch(step)] for step in range(self.n_steps)]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """losses: `[n_steps, n_prompts]`. tensors: final tensors of each prompt."""

    losses: Tensor
    tensors: Sequence[Mapping[str, Tensor]]


def random_examples(n: int, *, shortest: int, longest: int, n_answers: int, n_vocab: int) -> list[EncodedExample]:
    """Inputs of ``shortest`` to ``longest`` tokens, answers of 1 to ``n_answers``; lengths uniform."""
    inputs = random_texts(n, shortest=shortest, longest=longest, n_vocab=n_vocab, seed=11)
    targets = random_texts(n, shortest=1, longest=n_answers, n_vocab=n_vocab, seed=12)
    return [EncodedExample(*pair) for pair in zip(inputs, targets, strict=True)]


def settings_of(task: TuningTask) -> TuneSettings:
    """The trainer's settings for the task."""
    return TuneSettings(
        kind=task.kind,
        where=task.where,
        steps=task.n_steps,
        batch_size=task.batch_size,
        schedule="constant",
        keep="last",
        eval_every=task.n_steps,
    )


def new_trainer(
    hosted: HostedModel,
    task: TuningTask,
    *,
    max_bytes: int = 4 << 30,
    posterior: PosteriorSettings | None = None,
    prior: LogProb | None = None,
) -> Trainer:
    """One trainer for all prompts of the task. posterior: of which they are samples, under the density ``prior``."""
    members = [
        Member(name=str(i), lr=task.lr, start=start, prior_log_prob=prior) for i, start in enumerate(task.starts)
    ]
    settings = replace(settings_of(task), posterior=posterior)
    return Trainer(hosted, members=members, train=task.examples, validation=(), settings=settings, max_bytes=max_bytes)


def trained(trainer: Trainer) -> Tuned:
    """Run all steps of a trainer."""
    losses = []
    while not trainer.finished:
        losses.append([float(member.loss or 0.0) for member in trainer.step().members])
    return Tuned(losses=torch.tensor(losses), tensors=[trainer.tensors(i) for i in range(len(losses[0]))])


def tune_fused(hosted: HostedModel, task: TuningTask, *, max_bytes: int = 4 << 30) -> Tuned:
    """All prompts in one trainer."""
    return trained(new_trainer(hosted, task, max_bytes=max_bytes))


def tune_with_peft(module: Any, task: TuningTask, *, pad_to: int | None = None) -> Tuned:
    """PEFT prompt tuning, one prompt after the other; batches padded to their longest row or to ``pad_to`` tokens."""
    losses, tensors = [], []
    for start in task.starts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: Any = get_peft_model(
                module, PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=len(start["soft"]))
            )
        vectors = model.prompt_encoder["default"].embedding.weight
        with torch.no_grad():
            vectors.copy_(start["soft"])
        losses.append(_train(model, [vectors], task, pad_to=pad_to))
        tensors.append({"soft": vectors.detach().clone()})
    return Tuned(losses=torch.tensor(losses).T, tensors=tensors)


def _train(model: Any, parameters: Sequence[Tensor], task: TuningTask, *, pad_to: int | None) -> list[float]:
    adam = torch.optim.AdamW(parameters, lr=task.lr, weight_decay=0.0)
    losses = []
    for batch in task.batches():
        loss = model(**padded(batch, pad_to=pad_to)).loss
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        losses.append(float(loss.detach()))
    return losses


def padded(batch: Sequence[EncodedExample], *, pad_to: int | None = None) -> dict[str, Tensor]:
    """Right-padded ids, mask and labels for transformers.

    Raises:
        ValueError: a row is longer than ``pad_to``.
    """
    rows = [example.input_ids + example.target_ids for example in batch]
    longest = max(map(len, rows))
    if pad_to is not None and longest > pad_to:
        raise ValueError(f"expected rows of at most {pad_to} tokens, got {longest}.")
    n = pad_to or longest
    ids = torch.tensor([[*row, *[0] * (n - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (n - len(row)) for row in rows])
    labels = torch.full_like(ids, IGNORED)
    for i, example in enumerate(batch):
        labels[i, len(example.input_ids) : len(rows[i])] = torch.tensor(example.target_ids)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
