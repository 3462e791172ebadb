"""Losses and gradients equal those of the compiled prompt on every architecture."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from service.engine.activations.interventions import prompt_changes
from service.engine.attention.metadata import PackedMetadata, SequenceGroup
from service.engine.model.hooks import ForwardHooks
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.registry import compile_prompt, compiler_of
from tests.oracle.models import ARCHITECTURES
from tests.workers.tuning.small_training import FORMS, Form, examples, hosted
from workers.inputs.examples import EncodedExample
from workers.tuning.packing.batches import batch_of
from workers.tuning.training.forward import TuningForward, lowest_layer
from workers.tuning.training.frozen_layers import FrozenLayers

TRAINED_DIRECTLY = [name for name, form in FORMS.items() if form.d_reparametrised is None]


def forward_of(model: HostedModel, form: Form, *, gradient_checkpointing: bool = False) -> TuningForward:
    prompt = form.prompt(form.draw(model, seed=0))
    first = lowest_layer(prompt)
    frozen = FrozenLayers(model, layer=first, n_virtual=prompt.n_virtual, max_bytes=1 << 20) if first else None
    return TuningForward(model, prompt, frozen=frozen, gradient_checkpointing=gradient_checkpointing)


def leaves_of(form: Form, model: HostedModel, *, n: int = 3) -> list[dict[str, Tensor]]:
    return [{name: t.requires_grad_() for name, t in form.draw(model, seed=i).items()} for i in range(n)]


def loss_by_compiling(
    model: HostedModel, form: Form, tensors: Mapping[str, Tensor], texts: list[EncodedExample]
) -> Tensor:
    """Loss of each example alone, under the prompt as compiled for serving."""
    prompt = form.prompt(tensors)
    compiled = compile_prompt(model, prompt)
    losses = []
    for example in texts:
        plan = PackedMetadata([SequenceGroup(0, 1, example.length, compiled)])
        ids = torch.tensor(example.input_ids + example.target_ids[:-1])
        at = torch.arange(len(example.input_ids) - 1, example.length)
        changes = prompt_changes([(0, example.length, compiler_of(prompt).additions(prompt))])
        with ForwardHooks(model.module, model.architecture, reads=(), on_read=lambda *_: None, changes=changes):
            logits = model.forward(plan, ids=ids, positions=plan.positions, logits_at=at)
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(example.target_ids), reduction="sum"))
    return torch.stack(losses).sum()


def gradients(loss: Tensor, leaves: list[dict[str, Tensor]]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [tensor for tensors in leaves for tensor in tensors.values()]))


def assert_same_as_compiled(
    model: HostedModel, form: Form, texts: list[EncodedExample], *, checkpointing: bool
) -> None:
    leaves = leaves_of(form, model)
    expected = torch.stack([loss_by_compiling(model, form, tensors, texts) for tensors in leaves])
    losses = forward_of(model, form, gradient_checkpointing=checkpointing).losses(leaves, batch_of(texts))
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-4)
    for got, right in zip(gradients(losses.sum(), leaves), gradients(expected.sum(), leaves), strict=True):
        torch.testing.assert_close(got, right, rtol=1e-3, atol=1e-5 * float(right.abs().max()))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", ["soft", "deep-local", "deep-carried", "prefix", "steering"])
def test_every_architecture_gives_the_compiled_prompts_gradients(architecture: str, name: str) -> None:
    assert_same_as_compiled(hosted(architecture), FORMS[name], examples(3, seed=3), checkpointing=False)


@pytest.mark.parametrize("name", TRAINED_DIRECTLY)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_form_gives_the_compiled_prompts_gradients(name: str, checkpointing: bool) -> None:
    assert_same_as_compiled(hosted(), FORMS[name], examples(7, seed=4), checkpointing=checkpointing)


@pytest.mark.parametrize("name", TRAINED_DIRECTLY)
def test_plain_text_consists_of_answer_tokens(name: str) -> None:
    """With this many answer tokens, the last block runs on all tokens."""
    texts = [EncodedExample(e.input_ids[:1], e.input_ids[1:] + e.target_ids) for e in examples(5, seed=5)]
    assert_same_as_compiled(hosted(), FORMS[name], texts, checkpointing=False)


@pytest.mark.parametrize("name", ["soft", "prefix", "deep-local", "steering"])
def test_gradient_checkpointing_keeps_fewer_values(name: str) -> None:
    model, form = hosted(), FORMS[name]
    kept = {}
    for checkpointing in (False, True):
        n_values = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal n_values
            n_values += tensor.numel()
            return tensor

        forward = forward_of(model, form, gradient_checkpointing=checkpointing)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            forward.losses(leaves_of(form, model), batch_of(examples(5, seed=6)))
        kept[checkpointing] = n_values
    assert kept[True] < kept[False] / 2


def test_a_forward_leaves_the_model_unchanged() -> None:
    model = hosted()
    forwards = [block.forward for block in model.architecture.blocks]
    forward_of(model, FORMS["soft"]).losses(leaves_of(FORMS["soft"], model), batch_of(examples(2, seed=1)))
    assert [block.forward for block in model.architecture.blocks] == forwards
    assert not any("forward" in block.__dict__ for block in model.architecture.blocks)
    assert not model.architecture.final_norm._forward_hooks
    assert all(parameter.grad is None for parameter in model.module.parameters())
