from __future__ import annotations

import pytest
import torch
from torch import nn

from service.engine.model.layers.rms_norm import FrozenRMSNorm, freeze_rms_norms
from tests.oracle.models import ARCHITECTURES, build_model

DTYPES = (torch.float64, torch.bfloat16)
WITH_RMS_NORMS = sorted(set(ARCHITECTURES) - {"gpt2", "gpt_neox", "phi", "starcoder2", "cohere"})


def norms_of(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]


@pytest.mark.parametrize("architecture", WITH_RMS_NORMS)
def test_every_rms_norm_is_replaced_with_equal_values_and_gradients(architecture: str) -> None:
    plain, eased = norms_of(build_model(architecture)), build_model(architecture)
    assert freeze_rms_norms(eased) == len(plain) > 0
    for before, after in zip(plain, norms_of(eased), strict=True):
        width = before.get_parameter("weight").shape[0]
        x = torch.randn(2, 7, width, requires_grad=True)
        flow = torch.randn_like(x)
        answers = [norm(x) for norm in (before, after)]
        torch.testing.assert_close(answers[1], answers[0], atol=1e-5, rtol=1e-5)
        gradients = [torch.autograd.grad(answer, x, flow)[0] for answer in answers]
        torch.testing.assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-5)
        assert type(answers[1].grad_fn).__name__ != type(answers[0].grad_fn).__name__


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "phi", "starcoder2", "cohere"])
def test_other_norms_are_not_replaced(architecture: str) -> None:
    model = build_model(architecture)
    assert freeze_rms_norms(model) == 0
    assert not any(isinstance(module.__dict__.get("forward"), FrozenRMSNorm) for module in model.modules())


def test_norms_are_replaced_once_and_run_plainly_without_gradients() -> None:
    model = build_model("llama")
    n = freeze_rms_norms(model)
    norm = norms_of(model)[0]
    forward = norm.forward
    assert freeze_rms_norms(model) == n
    assert norm.forward is forward
    x = torch.randn(3, 56)
    assert torch.equal(norm(x), type(norm).forward(norm, x))


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "qwen3"])
def test_bfloat16_norms_are_closer_to_exact_ones_than_those_of_transformers(architecture: str) -> None:
    model = build_model(architecture).to(torch.bfloat16)
    exact, plain = (norms_of(build_model(architecture).to(torch.bfloat16).to(dtype)) for dtype in DTYPES)
    assert freeze_rms_norms(model) == len(plain)
    for before, after, right in zip(plain, norms_of(model), exact, strict=True):
        width = before.get_parameter("weight").shape[0]
        x = torch.randn(64, width).to(torch.bfloat16).requires_grad_()
        flow = torch.randn_like(x)
        errors = []
        inputs = x.detach().double().requires_grad_()
        expected = right(inputs)
        by_inputs = torch.autograd.grad(expected, inputs, flow.to(expected.dtype))[0]
        for norm in (before, after):
            out = norm(x)
            assert out.dtype == torch.bfloat16
            gradient = torch.autograd.grad(out, x, flow)[0]
            errors.append([float((out - expected).detach().norm()), float((gradient - by_inputs).norm())])
        assert errors[1][0] <= 1.01 * errors[0][0]
        assert errors[1][1] <= 1.01 * errors[0][1]


class CrookedRMSNorm(nn.Module):
    """Has the name of an RMS norm, but computes something else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(11), requires_grad=False)
        self.eps = 1e-6

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.weight * hidden_states * torch.rsqrt(hidden_states.abs().mean(-1, keepdim=True) + self.eps)


class HalfRMSNorm(nn.RMSNorm):
    """In bfloat16, which rounds in another order."""


def test_norms_that_compute_something_else_are_not_replaced() -> None:
    trained = nn.RMSNorm(11)
    half = HalfRMSNorm(11).to(torch.bfloat16).requires_grad_(False)
    for module in (CrookedRMSNorm(), trained, half):
        assert freeze_rms_norms(module) == 0
        assert "forward" not in module.__dict__
