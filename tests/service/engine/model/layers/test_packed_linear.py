from __future__ import annotations

import pytest
import torch
from torch import nn

from service.engine.model.layers import packed_linear
from service.engine.model.layers.packed_linear import pack_gradients, pack_linears

HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
pytestmark = pytest.mark.skipif(not HAS_ONEDNN, reason="torch was built without oneDNN")


def linears() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(13, 29), nn.Linear(29, 7, bias=False)).requires_grad_(False)


@pytest.mark.parametrize("shape", [(1, 1, 13), (1, 37, 13), (5, 13), (2, 3, 13), (1, 0, 13)])
def test_packed_layers_compute_the_same(shape: tuple[int, ...]) -> None:
    plain, packed = linears(), linears()
    assert pack_linears(packed) == (13 * 29 + 29 * 7) * 4
    x = torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(packed(x), plain(x), atol=1e-5, rtol=1e-5)


def test_gradients_equal_those_of_plain_layers() -> None:
    plain, packed = linears(), linears()
    pack_linears(packed)
    x = torch.randn(4, 13, requires_grad=True)
    gradients = [torch.autograd.grad(model(x).square().sum(), x)[0] for model in (plain, packed)]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_layers_over_the_memory_limit_and_of_other_kinds_are_not_packed() -> None:
    model = linears()
    assert pack_linears(model, max_bytes=13 * 29 * 4) == 13 * 29 * 4
    assert "forward" in model[0].__dict__
    assert "forward" not in model[1].__dict__
    for other in (linears().to(torch.float16), linears().requires_grad_()):
        assert pack_linears(other) == 0


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN packs no bfloat16 weights on this CPU"
)
@pytest.mark.parametrize("n_rows", [1, 37])
def test_bfloat16_layers_are_packed_where_the_cpu_has_instructions(
    monkeypatch: pytest.MonkeyPatch, n_rows: int
) -> None:
    monkeypatch.setattr(packed_linear, "has_fast_bfloat16", lambda: True)
    plain, packed = (linears().to(torch.bfloat16) for _ in range(2))
    assert pack_linears(packed) == (13 * 29 + 29 * 7) * 2
    pack_gradients(packed, max_bytes=1 << 20)
    x = torch.randn(n_rows, 13).to(torch.bfloat16).requires_grad_()
    outputs = [model(x) for model in (plain, packed)]
    gradients = [torch.autograd.grad(output.float().square().sum(), x)[0] for output in outputs]
    for got, expected in ((outputs[1], outputs[0]), (gradients[1], gradients[0])):
        assert got.dtype == torch.bfloat16
        assert torch.linalg.vector_norm(got - expected) <= 2.0**-6 * torch.linalg.vector_norm(expected)


def test_bfloat16_layers_are_not_packed_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_linear, "has_fast_bfloat16", lambda: False)
    assert pack_linears(linears().to(torch.bfloat16)) == 0
