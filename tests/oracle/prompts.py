"""Random tuned prompts of every kind, in the tensors of the native format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Kind = Literal["soft", "deep", "prefix", "steering"]
Where = Literal["local", "carried"]


@dataclass(frozen=True)
class OraclePrompt:
    """``soft`` `[n_virtual, d_model]`, ``deep.{layer}`` the same, ``prefix`` `[layers, 2, kv_heads, n_virtual, d_head]`, or
    ``steering.{layer}`` `[d_model]`.
    """

    kind: Kind
    tensors: Mapping[str, Tensor]
    where: Where | None = None

    @property
    def n_virtual(self) -> int:
        if self.kind == "steering":
            return 0
        tensor = next(iter(self.tensors.values()))
        return int(tensor.shape[3] if self.kind == "prefix" else tensor.shape[0])

    @property
    def deep(self) -> dict[int, Tensor]:
        """The vectors of each layer that has any."""
        return {int(name.removeprefix("deep.")): t for name, t in self.tensors.items()} if self.kind == "deep" else {}

    @property
    def added(self) -> dict[int, Tensor]:
        """What is added to the output of each block that is steered."""
        steers = self.kind == "steering"
        return {int(name.removeprefix("steering.")): t for name, t in self.tensors.items()} if steers else {}

    def is_visible(self, layer: int) -> bool:
        """Whether text attends to virtual positions in this layer."""
        if self.kind != "deep":
            return True
        return layer in self.deep if self.where == "local" else layer >= min(self.deep)


def soft(model: Any, *, n_virtual: int, seed: int) -> OraclePrompt:
    return OraclePrompt("soft", {"soft": _vectors(model, n_virtual, seed=seed)})


def deep(model: Any, *, layers: tuple[int, ...], where: Where, n_virtual: int, seed: int) -> OraclePrompt:
    tensors = {f"deep.{layer}": _vectors(model, n_virtual, seed=seed + layer) for layer in layers}
    return OraclePrompt("deep", tensors, where)


def prefix(model: Any, *, n_virtual: int, seed: int) -> OraclePrompt:
    config = model.config
    n_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = (config.num_hidden_layers, 2, n_heads, n_virtual, d_head)
    return OraclePrompt("prefix", {"prefix": torch.randn(shape, generator=torch.Generator().manual_seed(seed))})


def steering(model: Any, *, layers: tuple[int, ...], seed: int) -> OraclePrompt:
    return OraclePrompt("steering", {f"steering.{i}": _vectors(model, 1, seed=seed + i)[0] for i in layers})


def _vectors(model: Any, n_virtual: int, *, seed: int) -> Tensor:
    return torch.randn(n_virtual, model.config.hidden_size, generator=torch.Generator().manual_seed(seed))
