from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)

from workers.tuning.training import cross_entropy as module
from workers.tuning.training.cross_entropy import cross_entropy

N, N_VOCAB = 13, 97


@pytest.mark.parametrize("max_values", [1, 4 * N_VOCAB, 1 << 20])
@pytest.mark.parametrize("factors", [torch.ones(N), torch.linspace(-2, 3, N)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_and_gradients_equal_those_of_torch(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, factors: torch.Tensor, max_values: int
) -> None:
    monkeypatch.setattr(module, "MAX_VALUES", max_values)
    generator = torch.Generator().manual_seed(2)
    logits = (10 * torch.randn(N, N_VOCAB, generator=generator)).to(dtype)
    targets = torch.randint(N_VOCAB, (N,), generator=generator)
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    losses = cross_entropy(ours, targets)
    expected = F.cross_entropy(theirs.float(), targets, reduction="none")
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, expected)
    torch.autograd.backward([(losses * factors).sum(), (expected * factors).sum()])
    assert ours.grad is not None
    # bfloat16 gradients are rounded once more before they are scaled.
    rtol = 2.0**-7 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=rtol, atol=1e-6)


def test_no_gradient_is_kept_without_a_need() -> None:
    losses = cross_entropy(torch.zeros(3, 5), torch.tensor([0, 1, 4]))
    torch.testing.assert_close(losses, torch.full((3,), 5.0).log())
    assert not losses.requires_grad


def test_no_rows_have_no_losses() -> None:
    logits = torch.zeros(0, 5, requires_grad=True)
    losses = cross_entropy(logits, torch.zeros(0, dtype=torch.long))
    torch.autograd.backward(losses.sum())
    assert losses.shape == (0,)
    assert logits.grad is not None
