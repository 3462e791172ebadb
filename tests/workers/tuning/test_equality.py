"""Tuned vectors equal those of tuning alone, with plain transformers and torch, and with PEFT."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, PromptTuningConfig, TaskType, get_peft_model
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from transformers import get_scheduler

from tests.oracle.models import ARCHITECTURES, build_model
from tests.oracle.prompts import OraclePrompt
from tests.oracle.runs import oracle_logits
from tests.workers.tuning.small_training import (
    FORMS,
    N_VIRTUAL,
    TRAIN,
    Form,
    assert_close,
    hosted,
    members,
    run,
    settings,
    trainer,
)
from workers.inputs.examples import EncodedExample
from workers.tuning.packing.batches import Order
from workers.tuning.training.parameters import Reparametrised
from workers.tuning.training.settings import Member, TuneSettings

N_STEPS = 50


@pytest.mark.parametrize(
    "name", ["soft", "deep-local", "deep-carried", "prefix", "prefix-reparametrised", "steering", "steering-above"]
)
def test_members_tuned_together_equal_members_tuned_alone(name: str) -> None:
    team = members(FORMS[name], rates=(3e-3, 2e-2))
    chosen = settings(FORMS[name], steps=N_STEPS, batch_size=2)
    together = run(trainer(team, chosen))
    alone = run(trainer(team[1:], chosen))
    assert_close(together.tensors(1), alone.tensors(0))
    moved = min(float((alone.tensors(0)[name] - start).abs().max()) for name, start in team[1].start.items())
    assert moved > 1000 * 1e-5


class PlainTraining:
    """Trains one member with torch's AdamW and transformers' schedule. loss_of: the loss of a batch."""

    def __init__(self, leaves: list[Tensor], *, lr: float, chosen: TuneSettings) -> None:
        self._leaves = leaves
        self._chosen = chosen
        self._adam = torch.optim.AdamW(
            leaves, lr=lr, betas=chosen.betas, eps=chosen.eps, weight_decay=chosen.weight_decay
        )
        n_warmup = round(chosen.warmup * chosen.steps)
        name = "constant_with_warmup" if chosen.schedule == "constant" else chosen.schedule
        self._schedule = get_scheduler(name, self._adam, n_warmup, chosen.steps)
        self._order = Order(len(TRAIN), batch_size=chosen.batch_size, seed=chosen.data_seed)

    def run(self, loss_of: Any) -> None:
        for step in range(self._chosen.steps):
            self._adam.zero_grad()
            loss_of([TRAIN[i] for i in self._order.batch(step)]).backward()
            if self._chosen.clip is not None:
                torch.nn.utils.clip_grad_norm_(self._leaves, self._chosen.clip)
            self._adam.step()
            self._schedule.step()


def plain_vectors(form: Form, member: Member, chosen: TuneSettings) -> dict[str, Tensor]:
    """The member trained with plain transformers on ``inputs_embeds`` (or a cache), one example at a time."""
    module, parts = build_model("llama"), ARCHITECTURES["llama"].parts
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in member.start.items()}
    prompt = OraclePrompt(form.kind, leaves, form.where)

    def loss_of(batch: list[EncodedExample]) -> Tensor:
        sums = []
        for example in batch:
            logits = oracle_logits(module, parts, example.input_ids + example.target_ids[:-1], prompt)
            answers = logits[len(example.input_ids) - 1 :]
            sums.append(F.cross_entropy(answers, torch.tensor(example.target_ids), reduction="sum"))
        return torch.stack(sums).sum() / sum(len(example.target_ids) for example in batch)

    PlainTraining(list(leaves.values()), lr=member.lr, chosen=chosen).run(loss_of)
    return {name: leaf.detach() for name, leaf in leaves.items()}


@pytest.mark.parametrize("name", ["soft", "deep-local", "deep-carried", "prefix", "steering", "steering-above"])
def test_vectors_equal_those_of_plain_transformers_and_torch(name: str) -> None:
    form = FORMS[name]
    schedule = {"soft": "linear", "prefix": "cosine"}.get(name, "constant")
    chosen = settings(form, steps=N_STEPS, schedule=schedule, batch_size=2, weight_decay=0.1, clip=0.5)
    team = members(form, rates=(1e-2, 5e-3))
    ours = run(trainer(team, chosen))
    assert_close(ours.tensors(0), plain_vectors(form, team[0], chosen))


def peft_model(config: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model(build_model("llama"), config)


def peft_loss(model: Any, batch: list[EncodedExample]) -> Tensor:
    """PEFT's loss on a batch that is padded on the right, with labels at the answer tokens."""
    rows = [example.input_ids + example.target_ids for example in batch]
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    labels = torch.full_like(ids, -100)
    for i, example in enumerate(batch):
        labels[i, len(example.input_ids) : len(rows[i])] = torch.tensor(example.target_ids)
    loss: Tensor = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    return loss


def test_vectors_equal_those_of_peft_prompt_tuning() -> None:
    form = FORMS["soft"]
    chosen, team = settings(form, steps=N_STEPS, batch_size=2), members(form, rates=(3e-3, 1e-2))
    model = peft_model(PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=N_VIRTUAL))
    vectors = model.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        vectors.copy_(team[1].start["soft"])
    PlainTraining([vectors], lr=team[1].lr, chosen=chosen).run(lambda batch: peft_loss(model, batch))
    ours = run(trainer(team, chosen))
    assert_close(ours.tensors(1), {"soft": vectors.detach()})


@pytest.mark.parametrize("d_hidden", [None, 11])
def test_vectors_equal_those_of_peft_prefix_tuning(d_hidden: int | None) -> None:
    """With an encoder, both train all of it, from the same initial network."""
    form = Form("prefix", d_reparametrised=d_hidden)
    config = PrefixTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=N_VIRTUAL,
        prefix_projection=d_hidden is not None,
        encoder_hidden_size=d_hidden,
    )
    model = peft_model(config)
    encoder = model.prompt_encoder["default"]
    shape = form.draw(hosted(), seed=0)["prefix"].shape
    n_layers, _, n_heads, n_virtual, d_head = shape

    def prefix_of(flat: Tensor) -> Tensor:
        return flat.view(n_virtual, n_layers, 2, n_heads, d_head).permute(1, 2, 3, 0, 4)

    with torch.no_grad():
        if d_hidden is not None:
            ours = Reparametrised(torch.zeros(shape), d_hidden=d_hidden, seed=1, device=torch.device("cpu")).leaves
            encoder.embedding.weight.copy_(ours["embedding"])
            for layer, name in ((0, "in"), (2, "out")):
                encoder.transform[layer].weight.copy_(ours[f"{name}.weight"])
                encoder.transform[layer].bias.copy_(ours[f"{name}.bias"])
        start = prefix_of(encoder(torch.arange(n_virtual))).clone()
    chosen = settings(form, steps=N_STEPS, batch_size=2)
    mine = run(trainer([Member(name="m", lr=3e-3, start={"prefix": start}, seed=1)], chosen))
    PlainTraining(list(encoder.parameters()), lr=3e-3, chosen=chosen).run(lambda batch: peft_loss(model, batch))
    assert_close(mine.tensors(0), {"prefix": prefix_of(encoder(torch.arange(n_virtual))).detach()})
