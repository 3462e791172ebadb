from __future__ import annotations

import pytest
import torch

from service.engine.model import dtype
from service.engine.model.dtype import SMALL_PARAMETERS, choose_dtype
from service.errors import UnsupportedModel


def never() -> int:
    raise AssertionError("the number of parameters is not needed")


@pytest.fixture(params=[True, False])
def is_fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(dtype, "has_fast_bfloat16", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("on_cuda", [True, False])
def test_a_given_dtype_is_used(name: str, on_cuda: bool, is_fast: bool) -> None:
    choice = choose_dtype(name, on_cuda=on_cuda, count_parameters=never)
    assert (choice.dtype, choice.name) == (getattr(torch, name), name)
    is_emulated = name == "bfloat16" and not on_cuda and not is_fast
    assert choice.reason.startswith("as set")
    assert ("this CPU has no bfloat16 instructions" in choice.reason) == is_emulated


def test_auto_on_cuda_is_bfloat16(is_fast: bool) -> None:
    assert choose_dtype("auto", on_cuda=True, count_parameters=never).dtype == torch.bfloat16


@pytest.mark.parametrize("n", [1, SMALL_PARAMETERS, SMALL_PARAMETERS + 1, None])
def test_auto_on_a_cpu_depends_on_its_instructions_and_the_size(n: int | None, is_fast: bool) -> None:
    choice = choose_dtype("auto", on_cuda=False, count_parameters=lambda: n)
    is_large = n is not None and n > SMALL_PARAMETERS
    assert choice.dtype == (torch.bfloat16 if is_fast and is_large else torch.float32)
    assert choice.reason.startswith("auto: ")
    assert ("instructions" in choice.reason) == (not is_fast or is_large)


@pytest.mark.parametrize("name", ["int8", "float64", "", "Tensor"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedModel, match="expected auto, float32, bfloat16 or float16"):
        choose_dtype(name, on_cuda=False, count_parameters=never)
