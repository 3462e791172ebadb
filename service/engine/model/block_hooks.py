"""Running a model's blocks one's own way, inside the model's own forward: skip one, run it on some tokens, in two halves.

The model still makes positions, norms and logits as it always does; only what each block does is replaced while entered.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from service.engine.attention.kernels import METADATA_ARGUMENT, AttentionMetadata
from service.engine.model.architecture import Architecture
from service.engine.model.hooks import StopForward
from service.engine.shapes import Float, Tensor

Selection = slice | Tensor | None
"""Which of the packed tokens: a range, indices, or None for all."""


class BlockCall:
    """One block as the running forward calls it: ``layer``, the ``hidden`` states that came, and the block itself.

    A block takes tensors with a row for each of the ``n_tokens`` packed tokens (rotary tables, position ids). Run on a
    selection, it gets those rows of them.
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

    def run(self, hidden: Tensor, *, plan: AttentionMetadata, at: Selection = None) -> Tensor:
        """The block's output `[1, n, d_model]` for the states ``hidden`` of the tokens ``at``."""
        rest = tuple(self._select(value, at) for value in self._rest)
        kwargs = {name: self._select(value, at) for name, value in self._kwargs.items()}
        out: Tensor = self._forward(hidden, *rest, **{**kwargs, METADATA_ARGUMENT: plan})
        return out

    def keys_values(
        self, hidden: Tensor, *, at: Selection = None
    ) -> tuple[Float[Tensor, "n n_kv_heads d"], Float[Tensor, "n n_kv_heads dv"]]:
        """What the block would attend to, of the tokens ``at``; nothing above its attention is run."""
        found = _Found()
        try:
            self.run(hidden, plan=found, at=at)
        except StopForward:
            return found.key, found.value
        raise RuntimeError(f"block {self.layer} did not attend.")

    def _select(self, value: Any, at: Selection) -> Any:
        if at is None:
            return value
        if isinstance(value, tuple):
            return tuple(self._select(part, at) for part in value)
        if isinstance(value, Tensor) and value.dim() > 1 and value.shape[1] == self._n_tokens:
            return value[:, at] if isinstance(at, slice) else value.index_select(1, at.to(value.device))
        return value


class _Found:
    """A plan that keeps what it is given and goes no further."""

    key: Tensor
    value: Tensor

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        self.key, self.value = key, value
        raise StopForward


class ReplacedBlocks:
    """While entered, every block does what ``run`` makes of its call.

    Args:
        run: gets the call, returns the states `[1, n, d_model]` to go on with; n may differ from what came.
        n_tokens: packed tokens that the forward is called with.
    """

    def __init__(self, architecture: Architecture, run: Callable[[BlockCall], Tensor], *, n_tokens: int) -> None:
        self._blocks = architecture.blocks
        self._run = run
        self._n_tokens = n_tokens
        self._own: list[Any] = []

    def __enter__(self) -> ReplacedBlocks:
        # A placement over several devices has put a forward of its own on the instance: it is called, and put back.
        self._own = [block.__dict__.get("forward") for block in self._blocks]
        for layer, block in enumerate(self._blocks):
            block.forward = self._replacement(layer, block.forward)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for block, own in zip(self._blocks, self._own, strict=True):
            if own is None:
                del block.forward
            else:
                block.forward = own

    def _replacement(self, layer: int, forward: Callable[..., Any]) -> Callable[..., Tensor]:
        def replaced(*args: Any, **kwargs: Any) -> Tensor:
            return self._run(BlockCall(layer, forward, args, kwargs, n_tokens=self._n_tokens))

        return replaced
