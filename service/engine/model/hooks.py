"""Hooks of one forward: change tensors at their sites, report them, and stop when all have been reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from torch import nn

from service.engine.model.architecture import Architecture, LensSite, first_tensor
from service.engine.model.sites import Tap
from service.engine.shapes import Tensor

Change = Callable[[Tensor], Tensor]
"""`[tokens, …]` → the same shape, changed; must not write to its argument."""

Read = Callable[[Tap, Tensor], None]
"""Receives a tap and its tensor `[tokens, …]`."""


class StopForward(Exception):
    """All sites have been read: the layers above need not run."""


class ForwardHooks:
    """Registers hooks on entering and removes them on leaving.

    Args:
        reads: the taps to report; those that the attention reports are ignored.
        on_read: receives them; may raise StopForward.
        changes: applied in order, before the same site is read. Of a divided model, rank 0's result replaces that of the others.
        stop: raise StopForward once all reads have been reported. Changes above the last of them are not applied.
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
        self._architecture = architecture
        self._on_read = on_read
        self._changes = changes or {}
        self._reads = frozenset(tap for tap in reads if not tap.is_reported)
        self._pending = set(self._reads)
        self._stop = stop
        self._handles: list[Any] = []

    def __enter__(self) -> ForwardHooks:
        # Sorted, because the ranks of a divided model must meet in the same order.
        for tap in sorted({*self._reads, *self._changes}, key=lambda tap: tap.label):
            module = tap.module(self._model, self._architecture)
            lens = self._lens(tap)
            if tap.is_of_input or (lens is not None and lens.of_input):
                self._handles.append(module.register_forward_pre_hook(self._on_input(tap), with_kwargs=True))
            else:
                self._handles.append(module.register_forward_hook(self._on_output(tap)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _apply(self, tap: Tap, packed: Tensor, module: nn.Module, *, of_input: bool) -> Tensor:
        """packed `[1, tokens, …]`, or `[tokens, …]` where a module flattens its batch (some mixtures of experts)."""
        division = self._architecture.division
        rows = packed[0] if packed.dim() > 2 else packed
        if division is not None:
            rows = division.whole(module, rows, of_input=of_input)
        for change in self._changes.get(tap, ()):
            rows = change(rows)
        if division is not None and tap in self._changes and tap.kind != "logits":  # nothing is computed from logits
            rows = division.of_first(rows)
        if tap in self._reads:
            lens = self._lens(tap)
            self._on_read(tap, rows if lens is None or lens.transform is None else lens.transform(rows))
        if division is not None:
            rows = division.own(module, rows, of_input=of_input)
        return rows.view_as(packed)

    def _lens(self, tap: Tap) -> LensSite | None:
        return None if tap.path is None else self._architecture.lens.get(tap.path)

    def _finish(self, tap: Tap) -> None:
        self._pending.discard(tap)
        if self._stop and not self._pending:
            raise StopForward

    def _on_input(self, tap: Tap) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            changed = self._apply(tap, hidden, module, of_input=True)
            self._finish(tap)
            if tap not in self._changes:
                return None
            return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": changed})

        return hook

    def _on_output(self, tap: Tap) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            hidden = output.logits if tap.kind == "logits" else first_tensor(output)
            assert hidden is not None  # the catalogue lists only modules that return a tensor
            changed = self._apply(tap, hidden, module, of_input=False)
            self._finish(tap)
            if tap not in self._changes:
                return None
            if tap.kind == "logits":
                output.logits = changed
                return output
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return hook
