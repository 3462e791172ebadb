"""Tuning of a model in half precision: prompts stay float32 and are cast where they are used."""

from __future__ import annotations

import pytest
import torch

from service.engine.model.hosted_model import HostedModel
from tests.oracle.models import build_model, build_tokenizer
from tests.workers.tuning.small_training import FORMS, MAX_BYTES, TRAIN, VALIDATION, assert_close, members, settings
from workers.tuning.training.trainer import Trainer

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.cuda,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


def tuned(model: HostedModel, name: str, *, n_steps: int) -> tuple[Trainer, list[dict[str, float]]]:
    form = FORMS[name]
    chosen = settings(form, steps=n_steps, schedule="constant", warmup=0.0, gradient_checkpointing=True)
    team = members(form, rates=(2e-3, 1e-2), model=model)
    trained = Trainer(model, members=team, train=TRAIN[:3], validation=VALIDATION, settings=chosen, max_bytes=MAX_BYTES)
    losses = []
    while not trained.finished:
        losses.append({member.name: member.loss or 0.0 for member in trained.step().members})
    return trained, losses


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["soft", "deep-local", "deep-carried", "prefix-reparametrised"])
def test_prompts_of_a_bfloat16_model_are_float32_and_learn(name: str, device: str) -> None:
    half = HostedModel("half", build_model("llama").to(device, torch.bfloat16), build_tokenizer(), revision="random")
    trained, losses = tuned(half, name, n_steps=8)
    for member in ("m0", "m1"):
        assert losses[-1][member] < losses[0][member]
    for i in range(2):
        result = trained.result(i)
        assert all(t.dtype == torch.float32 and t.device.type == "cpu" for t in result.values())
        # Updates this small would round to nothing in bfloat16 vectors.
        assert any(not torch.equal(t, t.bfloat16().float()) for t in result.values())


@pytest.mark.parametrize("device", DEVICES)
def test_tuning_a_bfloat16_model_gives_losses_near_those_of_float32(device: str) -> None:
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        model = HostedModel("m", build_model("llama").to(device, dtype), build_tokenizer(), revision="random")
        trained, losses = tuned(model, "soft", n_steps=4)
        results.append((trained.tensors(0), losses))
    assert_close(results[0][0], results[1][0], within=4 * 2e-3 * 2)
    for half, full in zip(results[0][1], results[1][1], strict=True):
        assert half["m0"] == pytest.approx(full["m0"], rel=0.05)
