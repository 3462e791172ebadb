"""Counts of what a step of the engine sends to its device, without a device.

The model is on torch's ``meta`` device, whose tensors have no values. A copy from it to the host, and an operation whose
result decides what the host does next, would wait for a real device: both are counted here and answered with zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from service.engine.attention.kv_cache import KVShape
from service.engine.model.hosted_model import HostedModel

META: Final = torch.device("meta")
WAITING: Final = ("aten._local_scalar_dense", "aten.is_nonzero", "aten.equal", "aten.nonzero", "aten.masked_select")
"""Operations with a result on the host, or of a shape that depends on values."""

VIEWS: Final = (
    "aten.view",
    "aten._unsafe_view",
    "aten.slice",
    "aten.select",
    "aten.t",
    "aten.transpose",
    "aten.permute",
    "aten.unsqueeze",
    "aten.squeeze",
    "aten.expand",
    "aten.alias",
    "aten.detach",
    "aten.as_strided",
    "aten.split",
    "aten.unbind",
    "aten._reshape_alias",
    "aten.empty",
    "aten.sym_",
)
"""Operations that launch no kernel."""


@dataclass
class Counts:
    """Of one step. waits: of the host for the device. uploads: copies from the host to the device."""

    waits: list[str] = field(default_factory=list)
    uploads: int = 0
    kernels: int = 0


class CountingMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations on tensors of ``META``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts = Counts()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        with self:  # in inference mode, compound operations arrive whole
            if (parts := func.decompose(*args, **kwargs)) is not NotImplemented:
                return parts
        name = str(func)
        tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        is_on_device = any(tensor.device == META for tensor in tensors)
        if is_on_device and (name.startswith(WAITING) or _indexes_by_mask(name, args)):
            self.counts.waits.append(name)
            return _host_value(name, args)
        if name.startswith("aten._to_copy") and tensors:
            return self._copied(func, tensors[0], args, kwargs)
        if name.startswith("aten.copy_") and args[0].device != args[1].device:
            return self._written(args)
        result = func(*args, **kwargs)
        if any(leaf.device == META for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)):
            self.counts.kernels += not name.startswith(VIEWS)
        return result

    def _copied(
        self, func: Callable[..., Any], source: torch.Tensor, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        target = torch.device(kwargs.get("device") or source.device)
        if source.device == META and target != META:
            self.counts.waits.append("copy to the host")
            return torch.zeros(source.shape, dtype=kwargs.get("dtype") or source.dtype)
        self.counts.uploads += source.device != META and target == META
        self.counts.kernels += source.device == META
        return func(*args, **kwargs)

    def _written(self, args: Sequence[Any]) -> torch.Tensor:
        target, source = args[:2]
        if source.device == META:
            self.counts.waits.append("copy to the host")
            return target.zero_()  # type: ignore[no-any-return]
        self.counts.uploads += 1
        return target  # type: ignore[no-any-return]


def _indexes_by_mask(name: str, args: Sequence[Any]) -> bool:
    if not name.startswith(("aten.index.Tensor", "aten.index_put", "aten._index_put_impl")):
        return False
    return any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in args[1])


def _host_value(name: str, args: Sequence[Any]) -> Any:
    if name.startswith(("aten.is_nonzero", "aten.equal")):
        return False
    if name.startswith("aten._local_scalar_dense"):
        return (args[0].dtype.is_floating_point and 0.0) or 0
    return torch.empty(0, dtype=torch.int64, device=META)


class ConstructionMode(TorchFunctionMode):
    """Counts tensors that are made of the host's values directly on ``META``."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == META:
            self._counts.uploads += 1
        return func(*args, **kwargs)


@contextmanager
def counting() -> Iterator[Counts]:
    """Counts of everything inside."""
    with CountingMode() as mode, ConstructionMode(mode.counts):
        yield mode.counts


def on_meta(model: HostedModel) -> HostedModel:
    """Move a loaded model, whose start-up checks have passed, to ``META``."""
    model.module.to(META)
    layers = tuple(replace(layer, device=META) for layer in model.kv_shape.layers)
    model.kv_shape = KVShape(layers, model.kv_shape.dtype)
    return model
