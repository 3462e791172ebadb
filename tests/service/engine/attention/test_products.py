from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (the usual name)

from service.engine.attention import products

N_ROWS, N_KV_HEADS, GROUP, NEW, LENGTH, D = 5, 2, 3, 7, 11, 8
SCALE = 0.3


def operands(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Query, keys, values, the gradient of the result, and a causal bias with another number of hidden keys for each row."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    query, gradient = (draw(N_ROWS, N_KV_HEADS, GROUP * NEW, D) for _ in range(2))
    keys, values = (draw(N_ROWS, N_KV_HEADS, LENGTH, D) for _ in range(2))
    sees = torch.arange(NEW)[None, :] + torch.arange(N_ROWS)[:, None]
    hidden = torch.arange(LENGTH) > sees[:, :, None]
    return query, keys, values, gradient, torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)


def exact(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """torch's attention in float64, of every head by itself."""
    heads = query.double().reshape(N_ROWS, N_KV_HEADS * GROUP, NEW, D)
    k, v = (part.double().repeat_interleave(GROUP, 1) for part in (keys, values))
    mask = bias.double()[:, None]
    return F.scaled_dot_product_attention(heads, k, v, attn_mask=mask, scale=SCALE).reshape(query.shape)


@pytest.mark.parametrize("max_scores", [1, 2 * N_KV_HEADS * GROUP * NEW * LENGTH, 1 << 20])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2.0**-7)])
def test_values_and_gradients_equal_those_of_torch(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, tolerance: float, max_scores: int
) -> None:
    monkeypatch.setattr(products, "MAX_SCORES", max_scores)
    query, keys, values, gradient, bias = operands(dtype)
    inputs = [part.clone().requires_grad_() for part in (query, keys, values)]
    expected = exact(inputs[0], inputs[1], inputs[2], bias)
    torch.autograd.backward(expected, gradient.double())
    got = products.attend(query, keys, values, bias=bias, scale=SCALE)
    gradients = products.attend_backward(gradient, query, keys, values, bias=bias, scale=SCALE)
    for found, right in zip((got, *gradients), (expected, *(part.grad for part in inputs)), strict=True):
        assert right is not None
        assert found.dtype == dtype
        distance = torch.linalg.vector_norm(found.double() - right.double())
        assert distance <= tolerance * torch.linalg.vector_norm(right.double())


def test_large_bfloat16_scores_keep_their_differences() -> None:
    """Scores near 300 are 2 apart in bfloat16, and 0.5 apart here: rounded scores would give equal weights."""
    query = torch.tensor([[[[32.0, 1.0]]]], dtype=torch.bfloat16)
    keys = torch.tensor([[[[9.5, 0.0], [9.5, 0.5]]]], dtype=torch.bfloat16)
    values = torch.tensor([[[[0.0], [1.0]]]], dtype=torch.bfloat16)
    got = products.attend(query, keys, values, bias=torch.zeros(1, 1, 2), scale=1.0)
    assert float(got) == pytest.approx(float(torch.sigmoid(torch.tensor(0.5))), abs=2.0**-8)
