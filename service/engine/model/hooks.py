"""Hooks for one forward: change tensors at their sites, then hand them to whoever asked, then stop if nothing more is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from torch import nn

from service.engine.model.architecture import Architecture, first_tensor
from service.engine.model.sites import Tap
from service.engine.shapes import Tensor

Change = Callable[[Tensor], Tensor]
"""`[tokens, …]` → the same shape, changed; must not write to its argument."""

Read = Callable[[Tap, Tensor], None]
"""Receives a tap and its tensor `[tokens, …]`."""


class StopForward(Exception):
    """Everything that was asked for has been read: the layers above need not run."""


class ForwardHooks:
    """Registers hooks on entering and removes them on leaving.

    Args:
        changes: applied in order, before the same site is read.
        reads: the taps to report. ``attn_probs`` is reported by the attention plan: call ``probabilities_done`` for its layers.
        stop: raise StopForward once all reads have been reported (and every change lies below them).
    """

    def __init__(
        self,
        model: nn.Module,
        architecture: Architecture,
        *,
        reads: Sequence[Tap],
        on_read: Read,
        changes: Mapping[Tap, Sequence[Change]] | None = None,
        stop: bool = False,
    ) -> None:
        self._model = model
        self._anatomy = architecture
        self._on_read = on_read
        self._changes = changes or {}
        self._reads = frozenset(tap for tap in reads if tap.kind != "attn_probs")
        self._pending = set(reads)
        self._stop = stop
        self._handles: list[Any] = []

    def __enter__(self) -> ForwardHooks:
        for tap in {*self._reads, *self._changes}:
            module = self._module(tap)
            if tap.kind == "resid_pre":
                self._handles.append(module.register_forward_pre_hook(self._on_input(tap), with_kwargs=True))
            else:
                self._handles.append(module.register_forward_hook(self._on_output(tap)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def probabilities_done(self, layer: int) -> None:
        """The attention plan has reported all of ``attn_probs.layer``."""
        self._finish(Tap("attn_probs", layer))

    def _module(self, tap: Tap) -> nn.Module:
        parts = self._anatomy
        if tap.path is not None:
            return self._model.get_submodule(tap.path)
        if tap.layer is None:
            return {"embed": parts.embed, "final_norm": parts.final_norm, "logits": self._model}[tap.kind]
        return {
            "resid_pre": parts.blocks,
            "resid_post": parts.blocks,
            "attn_out": parts.attentions,
            "mlp_out": parts.mlps,
        }[tap.kind][tap.layer]

    def _apply(self, tap: Tap, packed: Tensor) -> Tensor:
        """packed `[1, tokens, …]`, or `[tokens, …]` where a module flattens its batch (some mixtures of experts)."""
        rows = packed[0] if packed.dim() > 2 else packed
        for change in self._changes.get(tap, ()):
            rows = change(rows)
        if tap in self._reads:
            self._on_read(tap, rows)
        return rows.view_as(packed)

    def _finish(self, tap: Tap) -> None:
        self._pending.discard(tap)
        if self._stop and not self._pending:
            raise StopForward

    def _on_input(self, tap: Tap) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            changed = self._apply(tap, hidden)
            self._finish(tap)
            if tap not in self._changes:
                return None
            return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": changed})

        return hook

    def _on_output(self, tap: Tap) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            hidden = output.logits if tap.kind == "logits" else first_tensor(output)
            assert hidden is not None  # the catalogue lists no module without a tensor
            changed = self._apply(tap, hidden)
            self._finish(tap)
            if tap not in self._changes:
                return None
            if tap.kind == "logits":
                output.logits = changed
                return output
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return hook
