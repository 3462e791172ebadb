"""Leaving out what nobody reads: the MLP of the last block that runs, for tokens whose state above it is not wanted.

Attention of that block still needs every token's key and value, but its MLP works token by token. With the last token of
each text wanted, that is nearly all of the MLP.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn

from service.engine.model.architecture import first_tensor
from service.engine.model.sites import Tap
from service.engine.shapes import Tensor

WORTH_IT = 2
"""Only when the wanted tokens are fewer than one in this many: gathering and scattering cost something too."""


class PartialMLP:
    """While entered, ``mlp`` computes the packed tokens ``wanted`` only; all others get zeros."""

    def __init__(self, mlp: nn.Module, wanted: Sequence[int]) -> None:
        self._mlp = mlp
        self._wanted = torch.tensor(wanted, dtype=torch.long)
        self._n_tokens = 0
        self._handles: list[Any] = []

    def __enter__(self) -> PartialMLP:
        self._handles = [
            self._mlp.register_forward_pre_hook(self._select),
            # Before any other hook: those see a row for each token, as always.
            self._mlp.register_forward_hook(self._scatter, prepend=True),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _select(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden: Tensor = args[0]
        self._n_tokens = hidden.shape[1]
        return (hidden[:, self._wanted.to(hidden.device)], *args[1:])

    def _scatter(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        part = first_tensor(output)
        assert part is not None
        whole = part.new_zeros(1, self._n_tokens, part.shape[-1])
        whole[0, self._wanted.to(part.device)] = part.reshape(-1, part.shape[-1])
        return (whole, *output[1:]) if isinstance(output, tuple) else whole


def top_layer(taps: Sequence[Tap]) -> int | None:
    """The block whose MLP nobody but ``resid_post`` there looks at, and above which nothing is read; None if there is none."""
    if any(tap.layer is None and tap.kind != "embed" for tap in taps):
        return None
    top = max((tap.layer for tap in taps if tap.layer is not None), default=None)
    if top is None or any(tap.layer == top and tap.kind == "mlp_out" for tap in taps):
        return None
    return top if Tap("resid_post", top) in taps else None
