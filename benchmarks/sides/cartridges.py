"""One cartridge for a document: by the trainer, and by the training loop of PEFT's example ``cartridge_self_study``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import CartridgeConfig, TaskType, get_peft_model
from promptatlas.types.distillation import DivergenceLoss
from torch import Tensor

from benchmarks.sides.tuning import Tuned, trained
from service.engine.model.hosted_model import HostedModel
from workers.tuning.distillation.criterion import DistillationLoss, view_of
from workers.tuning.distillation.lessons import LearnedExample, Lesson, whole
from workers.tuning.distillation.teachers import ModelTeacher
from workers.tuning.packing.batches import Order
from workers.tuning.training.settings import Member, TuneSettings
from workers.tuning.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class CartridgeTask:
    """What both sides train: one text a step, AdamW with a rate that falls linearly to 0, gradient clipping at norm 1.

    The loss is −Σ p·log q over the teacher's ``k`` most probable tokens, at every token of a text but its first.

    Attributes:
        document: which the teacher reads in front of each text.
        texts: questions with their answers, at least two tokens each.
        start: the first keys and values `[n_layers, 2, n_kv_heads, n_virtual, d_head]`.
        n_frozen: number of first positions that are not trained.
    """

    document: tuple[int, ...]
    texts: Sequence[tuple[int, ...]]
    start: Tensor
    n_steps: int
    n_frozen: int = 1
    k: int = 20
    lr: float = 1e-3

    def steps(self) -> list[tuple[int, ...]]:
        """The text of each step, in the order of seed 0."""
        order = Order(len(self.texts), batch_size=1, seed=0)
        return [self.texts[order.batch(step)[0]] for step in range(self.n_steps)]


@torch.no_grad()
def keys_values_of(module: Any, ids: Sequence[int]) -> Tensor:
    """Keys and values of a text in plain transformers, `[n_layers, 2, n_kv_heads, n_tokens, d_head]`."""
    cache = module(input_ids=torch.tensor([ids]), use_cache=True).past_key_values
    return torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers])


def train_cartridge(hosted: HostedModel, task: CartridgeTask, *, max_bytes: int = 4 << 30) -> Tuned:
    """The trainer, with the teacher's readings."""
    term = DivergenceLoss(kind="kl", top_k=task.k, rest=False)
    teacher = ModelTeacher(
        hosted, prompt=None, views=[view_of(term)], layers=(), max_bytes=max_bytes, front=task.document
    )
    trainer = Trainer(
        hosted,
        members=[Member(name="cartridge", lr=task.lr, start={"prefix": task.start})],
        train=[_example(i, text, document=task.document) for i, text in enumerate(task.texts)],
        validation=(),
        settings=TuneSettings(
            kind="prefix",
            n_frozen=task.n_frozen,
            steps=task.n_steps,
            batch_size=1,
            keep="last",
            eval_every=task.n_steps,
        ),
        max_bytes=max_bytes,
        criterion=DistillationLoss([term], teacher=teacher),
    )
    return trained(trainer)


def train_with_peft(module: Any, task: CartridgeTask) -> Tuned:
    """PEFT's cartridge; in each step the teacher reads the document and the text, with logits of all tokens."""
    model = _adapted(module, task)
    encoder = model.prompt_encoder["default"]
    parameters = [encoder.trainable_embedding]
    adam = torch.optim.AdamW(parameters, lr=task.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / task.n_steps)
    losses = []
    for text in task.steps():
        loss = _peft_loss(model, module, text, task=task)
        adam.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        schedule.step()
        losses.append([float(loss.detach())])
    return Tuned(losses=torch.tensor(losses), tensors=[{"prefix": _native(encoder.weight, like=task.start)}])


def _peft_loss(model: Any, module: Any, text: Sequence[int], *, task: CartridgeTask) -> Tensor:
    given = torch.tensor([[*task.document, *text]])
    with torch.no_grad():
        taught = module(input_ids=given, attention_mask=torch.ones_like(given), use_cache=False).logits[0]
    own = torch.tensor([text])
    student = model(input_ids=own, attention_mask=torch.ones_like(own), use_cache=False).logits[0, :-1]
    log_p = taught[len(task.document) : -1].log_softmax(-1)
    top = log_p.topk(task.k, -1)
    log_q = student.log_softmax(-1).gather(-1, top.indices)
    loss: Tensor = -(top.values.exp() * log_q).sum(-1).mean()
    return loss


def _adapted(module: Any, task: CartridgeTask) -> Any:
    n_virtual = task.start.shape[3]
    config = CartridgeConfig(
        task_type=TaskType.CAUSAL_LM, num_virtual_tokens=n_virtual, num_frozen_tokens=task.n_frozen
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = get_peft_model(module, config)
    model.prompt_encoder["default"].load_prompt_embeddings(task.start.permute(3, 0, 1, 2, 4).flatten(1))
    return model


def _native(weight: Tensor, *, like: Tensor) -> Tensor:
    """PEFT's `[n_virtual, n_layers · 2 · n_kv_heads · d_head]` in the shape of ``like``."""
    n_layers, _, n_heads, n_virtual, d_head = like.shape
    return weight.detach().view(n_virtual, n_layers, 2, n_heads, d_head).permute(1, 2, 3, 0, 4).clone()


def _example(index: int, text: tuple[int, ...], *, document: tuple[int, ...]) -> LearnedExample:
    first = text[:1]
    lesson = Lesson(split="train", index=index, input_ids=first, teacher_ids=(*document, *first), target_ids=text[1:])
    return whole(lesson)
