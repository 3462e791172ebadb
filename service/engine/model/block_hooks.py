"""Replaced blocks inside the model's own forward: a block can be skipped, run on a selection of tokens, or run in two halves.

Positions, norms and logits are still the model's own; only the blocks are replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from service.engine.attention.kernels import METADATA_ARGUMENT, AttentionMetadata, AttentionSpec
from service.engine.model.architecture import Architecture
from service.engine.model.hooks import StopForward
from service.engine.shapes import Float, Tensor

Selection = slice | Tensor | None
"""Which of the packed tokens: a range, indices, or None for all."""


class BlockCall:
    """A call of one block: its ``layer``, its input states ``hidden`` `[1, n, d_model]`, and the block's own forward.

    A block also takes tensors with one row per packed token (rotary tables, position ids). Run on a selection of tokens, it
    gets the rows of that selection.
    """

    def __init__(
        self, layer: int, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, n_tokens: int
    ) -> None:
        self.layer = layer
        self.hidden: Tensor = args[0] if args else kwargs.pop("hidden_states")
        self._forward = forward
        self._rest = args[1:]
        self._kwargs = kwargs
        self._n_tokens = n_tokens

    def run(self, hidden: Tensor, *, metadata: AttentionMetadata, at: Selection = None) -> Tensor:
        """The block's output `[1, n, d_model]` for the states ``hidden`` of the tokens ``at``."""
        rest = tuple(self._select(value, at) for value in self._rest)
        kwargs = {name: self._select(value, at) for name, value in self._kwargs.items()}
        out: Tensor = self._forward(hidden, *rest, **{**kwargs, METADATA_ARGUMENT: metadata})
        return out

    def keys_values(
        self, hidden: Tensor, *, at: Selection = None
    ) -> tuple[Float[Tensor, "n n_kv_heads d"], Float[Tensor, "n n_kv_heads dv"]]:
        """Keys and values of the tokens ``at`` in this block; nothing above its attention is run."""
        recorded = _KeysValuesOnly()
        try:
            self.run(hidden, metadata=recorded, at=at)
        except StopForward:
            return recorded.key, recorded.value
        raise RuntimeError(f"block {self.layer} returned without calling its attention.")

    def _select(self, value: Any, at: Selection) -> Any:
        if at is None:
            return value
        if isinstance(value, tuple):
            return tuple(self._select(part, at) for part in value)
        if isinstance(value, Tensor) and value.dim() > 1 and value.shape[1] == self._n_tokens:
            return value[:, at] if isinstance(at, slice) else value.index_select(1, at.to(value.device))
        return value


class _KeysValuesOnly:
    """Attention metadata that keeps key and value and stops the forward."""

    key: Tensor
    value: Tensor

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, spec: AttentionSpec) -> Tensor:
        self.key, self.value = key, value
        raise StopForward


class ReplacedBlocks:
    """While entered, every call of a block goes to ``run``.

    Args:
        run: receives the call, returns the block's output `[1, n, d_model]`; n may differ from the input's.
        n_tokens: packed tokens that the forward is called with.
    """

    def __init__(self, architecture: Architecture, run: Callable[[BlockCall], Tensor], *, n_tokens: int) -> None:
        self._blocks = architecture.blocks
        self._run = run
        self._n_tokens = n_tokens
        self._instance_forwards: list[Any] = []

    def __enter__(self) -> ReplacedBlocks:
        # accelerate's placement over several devices sets ``forward`` on the instance: it is called, and restored.
        self._instance_forwards = [block.__dict__.get("forward") for block in self._blocks]
        for layer, block in enumerate(self._blocks):
            block.forward = self._replacement(layer, block.forward)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for block, forward in zip(self._blocks, self._instance_forwards, strict=True):
            if forward is None:
                del block.forward
            else:
                block.forward = forward

    def _replacement(self, layer: int, forward: Callable[..., Any]) -> Callable[..., Tensor]:
        def replaced(*args: Any, **kwargs: Any) -> Tensor:
            return self._run(BlockCall(layer, forward, args, kwargs, n_tokens=self._n_tokens))

        return replaced
