"""Choice of a model's dtype, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from service.engine.model.layers.cpu import has_fast_bfloat16
from service.errors import UnsupportedModel

DTYPES = ("float32", "bfloat16", "float16")
NO_BFLOAT16 = "this CPU has no bfloat16 instructions (avx512_bf16 or AMX)"
SMALL_PARAMETERS = 50_000_000
"""On a CPU, models of up to this many parameters stay float32: they are fast enough, and results are exact to 1e-6."""


@dataclass(frozen=True)
class DtypeChoice:
    """A dtype, and why it was chosen, as a part of a sentence."""

    dtype: torch.dtype
    reason: str

    @property
    def name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


def choose_dtype(name: str, *, on_cuda: bool, count_parameters: Callable[[], int | None]) -> DtypeChoice:
    """The dtype of the weights.

    Args:
        name: float32, bfloat16, float16, or auto: bfloat16 on CUDA, and on CPUs that multiply it fast for models of more than
            ``SMALL_PARAMETERS``; otherwise float32.
        count_parameters: called only if the choice depends on it; None: not known.

    Raises:
        UnsupportedModel: another name.
    """
    if name in DTYPES:
        is_slow = name == "bfloat16" and not on_cuda and not has_fast_bfloat16()
        return DtypeChoice(
            getattr(torch, name), f"as set; {NO_BFLOAT16}: expect slow products" if is_slow else "as set"
        )
    if name != "auto":
        raise UnsupportedModel(f"dtype {name}: expected auto, {', '.join(DTYPES[:-1])} or {DTYPES[-1]}.")
    if on_cuda:
        return DtypeChoice(torch.bfloat16, "auto: on CUDA")
    if not has_fast_bfloat16():
        return DtypeChoice(torch.float32, f"auto: {NO_BFLOAT16}")
    n = count_parameters()
    if n is None:
        return DtypeChoice(torch.float32, "auto: the number of parameters is not known")
    limit, millions = f"{SMALL_PARAMETERS // 10**6} million parameters", f"{n / 1e6:.3g} million parameters"
    if n <= SMALL_PARAMETERS:
        return DtypeChoice(torch.float32, f"auto: {millions}, at most {limit}")
    return DtypeChoice(torch.bfloat16, f"auto: {millions}, more than {limit}, on a CPU with bfloat16 instructions")
