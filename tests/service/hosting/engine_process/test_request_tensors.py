from __future__ import annotations

import pytest
import torch
from safetensors.torch import save

from service.engine.requests import Generate, Intervention
from service.errors import InvalidRequest
from service.hosting.engine_process.request_tensors import attach_values
from service.hosting.ipc.messages import Submit


def job(tensors: bytes, *values: str | None) -> Submit:
    interventions = tuple(Intervention(site=f"s{i}") for i in range(len(values)))
    request = Generate(request_id="a", inputs=("x",), interventions=interventions)
    return Submit(model="m", request=request, tensors=tensors, values=values)


def test_each_intervention_gets_its_tensor_as_float32() -> None:
    data = save({"v": torch.tensor([1.5, 2.0], dtype=torch.bfloat16), "w": torch.ones(3, dtype=torch.float64)})
    filled = attach_values(job(data, "w", None, "v")).interventions
    assert [item.site for item in filled] == ["s0", "s1", "s2"]
    assert filled[0].value is not None
    assert filled[0].value.dtype == torch.float32
    assert filled[1].value is None
    assert torch.equal(filled[2].value if filled[2].value is not None else torch.zeros(0), torch.tensor([1.5, 2.0]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no tensor 'v'"),
        (b"rubbish", "safetensors"),
        (save({"w": torch.ones(2)}), "no tensor 'v'; it has w"),
        (save({"v": torch.ones(2, dtype=torch.int64)}), "floating point, got int64"),
        (save({"v": torch.tensor([1.0, float("nan")])}), "NaN"),
    ],
)
def test_invalid_tensors_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as refused:
        attach_values(job(data, None, "v"))
    assert refused.value.loc == (("tensors",) if message == "safetensors" else ("interventions", 1, "value"))
