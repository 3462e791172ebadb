"""Partial MLP: the MLP of the last block that runs, restricted to the tokens whose state above it is read.

The attention of that block needs the keys and values of all tokens, but its MLP works token by token. If only the last
token of each text is read, nearly all of the MLP is saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from torch import nn

from service.engine.model.architecture import Architecture, first_tensor
from service.engine.model.sites import Tap
from service.engine.shapes import Int, Tensor

MIN_SAVING = 2
"""Use it only if fewer than one token in this many is needed: gathering and scattering have a cost too."""


class PartialMLP:
    """While entered, ``mlp`` computes the packed tokens ``needed`` only; the output of all others is zero."""

    def __init__(self, mlp: nn.Module, needed: Int[Tensor, " needed"]) -> None:
        self._mlp = mlp
        self._needed = needed
        self._n_tokens = 0
        self._handles: list[Any] = []

    def __enter__(self) -> PartialMLP:
        self._handles = [
            self._mlp.register_forward_pre_hook(self._select),
            # Before any other hook: those expect one row per token.
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
        return (hidden[:, self._needed.to(hidden.device)], *args[1:])

    def _scatter(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        part = first_tensor(output)
        assert part is not None
        whole = part.new_zeros(1, self._n_tokens, part.shape[-1])
        whole[0, self._needed.to(part.device)] = part.reshape(-1, part.shape[-1])
        return (whole, *output[1:]) if isinstance(output, tuple) else whole


def unread_mlp(taps: Sequence[Tap], architecture: Architecture, *, model: nn.Module, stops: bool) -> int | None:
    """The last block that runs, if its MLP's output is needed only for the states above the block.

    Args:
        taps: what the forward reads.
        stops: it stops after the last tap; otherwise it goes on to the logits, and no tap may read the last block.

    Returns:
        Its layer; None if a tap reads inside the block or above it.
    """
    last = architecture.n_layers - 1
    if not stops:
        return None if any(tap.layer == last or tap.is_after_blocks for tap in taps) else last
    top = max((tap.layer for tap in taps if tap.layer is not None), default=None)
    if top is None or Tap("resid_post", top) not in taps or any(tap.is_after_blocks for tap in taps):
        return None
    mlp = set(architecture.mlps[top].modules())
    reads_mlp = any(tap.layer == top and not tap.is_reported and tap.module(model, architecture) in mlp for tap in taps)
    return None if reads_mlp else top
