from __future__ import annotations

import pytest
import torch

from service.engine.transfers import to_device, to_host
from tests.service.engine.scheduling.device_counts import counting

TENSORS = [torch.arange(6).view(2, 3), torch.tensor([[0.1], [-torch.inf]], dtype=torch.float64), torch.zeros(0).long()]


def test_tensors_are_sent_in_one_copy() -> None:
    with counting() as counts:
        sent = to_device(torch.device("meta"), TENSORS)
    assert counts.uploads == 1
    assert [(t.shape, t.dtype) for t in sent] == [(t.shape, t.dtype) for t in TENSORS]


def test_tensors_are_fetched_in_one_copy() -> None:
    on_device = [torch.zeros(2, 3, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta")]
    with counting() as counts:
        fetched = to_host(on_device)
    assert counts.waits == ["copy to the host"]
    assert [(t.shape, t.dtype) for t in fetched] == [(t.shape, t.dtype) for t in on_device]


def test_bits_survive_the_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another CPU as the device, so that the packed tensor has values."""
    monkeypatch.setattr("service.engine.transfers._is_host", lambda _device: False)
    sent = to_device(torch.device("cpu"), TENSORS)
    assert all(a.equal(b) and a.dtype == b.dtype for a, b in zip(sent, TENSORS, strict=True))
    values = [
        torch.tensor([0.1, torch.nan, -torch.inf]),
        torch.tensor([[2**62 + 1]]),
        torch.tensor([7], dtype=torch.int32),
    ]
    fetched = to_host(values)
    assert all(torch.equal(a.nan_to_num(9), b.nan_to_num(9)) for a, b in zip(fetched, values, strict=True))
    assert [t.dtype for t in fetched] == [t.dtype for t in values]


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match=r"expected int64 or float64 tensors, got torch\.float32"):
        to_device(torch.device("meta"), [torch.zeros(2)])
