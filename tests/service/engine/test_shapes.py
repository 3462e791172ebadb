from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

import service.engine.shapes as shapes
from service.engine.sampling.choice import token_logprobs


def test_shapes_are_checked_in_tests() -> None:
    with pytest.raises(Exception, match="token_logprobs"):
        token_logprobs(torch.zeros(3, 7), torch.zeros(4, dtype=torch.int64), 1)


def test_annotations_are_plain_tensors_without_jaxtyping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jaxtyping", None)
    spec = importlib.util.spec_from_file_location("shapes_without_jaxtyping", shapes.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("Bool", "Float", "Int"):
        assert getattr(module, name)[torch.Tensor, "rows d_model"] is torch.Tensor
