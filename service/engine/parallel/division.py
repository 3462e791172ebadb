"""Division of one model over ranks: which tensors each rank has whole, which it has a part of, and how parts become whole.

transformers divides attention and MLP by its plans: the outputs of ``colwise`` layers and the inputs of ``rowwise`` layers are
parts, and the residual stream is whole on each rank. Parts are consecutive along the first dimension of a token's row: heads,
or units of an MLP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from transformers.distributed.tensor_parallel import get_kv_heads_per_rank

from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.shapes import Tensor
from service.errors import UnsupportedModel

SETTING = "PROMPTATLAS_TENSOR_PARALLEL"
N_PROJECTIONS = 4
SEED = 20250711
TOLERANCE = 1e-3
"""Of the norm of a tensor: projections of equal tensors differ by rounding only."""


@dataclass(frozen=True)
class Division:
    """How one model is divided.

    Attributes:
        size: number of ranks. rank: of this process.
        parts: modules whose input (True) or output (False) is a part.
        unreadable: paths of modules whose output is a part in a layout that is not known.
        n_head_ranks: ranks over which the attention heads are divided; 1 if each rank has all heads.
    """

    size: int
    rank: int
    parts: frozenset[tuple[nn.Module, bool]] = frozenset()
    unreadable: frozenset[str] = field(default_factory=frozenset)
    n_head_ranks: int = 1

    def is_part(self, module: nn.Module, *, of_input: bool) -> bool:
        """Whether each rank has a part of the module's input or output only."""
        return (module, of_input) in self.parts

    def whole(self, module: nn.Module, rows: Tensor, *, of_input: bool) -> Tensor:
        """Rows `[tokens, …]` at a module with the parts of all ranks. All ranks must call it."""
        return self.collected(rows, dim=1) if self.is_part(module, of_input=of_input) else rows

    def own(self, module: nn.Module, rows: Tensor, *, of_input: bool) -> Tensor:
        """This rank's part of whole rows at a module."""
        if not self.is_part(module, of_input=of_input):
            return rows
        return rows.tensor_split(self.size, dim=1)[self.rank].contiguous()

    def of_first(self, rows: Tensor) -> Tensor:
        """Rank 0's rows. All ranks must call it."""
        same = rows.contiguous()
        dist.broadcast(same, src=0)
        return same

    def whole_heads(self, tensor: Tensor, *, dim: int) -> Tensor:
        """A tensor with the heads of all ranks along ``dim``. All ranks must call it."""
        return tensor if self.n_head_ranks == 1 else self.collected(tensor, dim=dim)

    def whole_rows_of_heads(self, rows: Tensor) -> Tensor:
        """Rows `[tokens, heads, …]` with the heads of all ranks. All ranks must call it."""
        return self.whole_heads(rows, dim=1)

    def own_heads(self, tensor: Tensor, *, dim: int) -> Tensor:
        """This rank's heads of a tensor with all of them along ``dim``."""
        return tensor if self.n_head_ranks == 1 else tensor.tensor_split(self.size, dim=dim)[self.rank].contiguous()

    def whole_prompt(self, prompt: CompiledPrompt) -> CompiledPrompt:
        """A compiled prompt with the heads of all ranks. All ranks must call it."""
        keys, values = (
            tuple(None if part is None else self.whole_heads(part, dim=0) for part in parts)
            for parts in (prompt.keys, prompt.values)
        )
        return CompiledPrompt(prompt.n_virtual, keys, values)

    def collected(self, tensor: Tensor, *, dim: int) -> Tensor:
        """The tensors of all ranks, concatenated."""
        own = tensor.contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return torch.cat(parts, dim=dim)

    def with_heads(self, keys: Sequence[Tensor]) -> Division:
        """The division whose ``n_head_ranks`` follows from the keys of each layer in a probe. All ranks must call it."""
        is_whole = self._is_same([digest(key) for key in keys])
        if any(is_whole) and not all(is_whole):
            raise UnsupportedModel(f"{SETTING}: expected the heads of all layers to be divided, or of none.")
        return replace(self, n_head_ranks=1 if all(is_whole) else self.size)

    def with_parts(self, model: nn.Module, plan: Mapping[str, str], digests: Mapping[str, Tensor]) -> Division:
        """The division with the parts found. All ranks must call it.

        Args:
            plan: transformers' style of each module path, with ``*`` for numbers.
            digests: of the outputs of a probe, by module path.
        """
        parts: set[tuple[nn.Module, bool]] = set()
        unreadable: set[str] = set()
        modules = dict(model.named_modules())
        for path, module in modules.items():
            if plan.get(_generic(path)) == "rowwise":
                parts.add((module, True))
        is_same = self._is_same(list(digests.values()))
        for (path, found), same in zip(digests.items(), is_same, strict=True):
            if same:
                continue
            if int(found[0]) * self.size in _colwise_widths(path, modules, plan):
                parts.add((modules[path], False))
            else:
                unreadable.add(path)
        return replace(self, parts=frozenset(parts), unreadable=frozenset(unreadable))

    def _is_same(self, digests: Sequence[Tensor]) -> list[bool]:
        """Whether all ranks have the same tensor, for each digest."""
        device = torch.device("cuda", self.rank) if torch.cuda.is_available() else torch.device("cpu")
        found = self.collected(torch.stack(list(digests))[None].to(device), dim=0)
        error = (found[:, :, 2:] - found[:1, :, 2:]).abs().amax((0, 2))
        same_size = (found[:, :, 0] == found[:1, :, 0]).all(0)
        return (same_size & (error <= TOLERANCE * found[0, :, 1])).tolist()


def digest(rows: Tensor) -> Tensor:
    """Values of one row, norm, and projections onto random directions, `[2 + N_PROJECTIONS]` float64 on the CPU."""
    flat = rows.detach().flatten().double().cpu()
    generator = torch.Generator().manual_seed(SEED)
    directions = torch.randn(N_PROJECTIONS, len(flat), generator=generator, dtype=torch.float64)
    return torch.cat([torch.tensor([float(rows[0].numel())]).double(), flat.norm()[None], directions @ flat])


def require_plan(config: Any, *, size: int, label: str) -> None:
    """Raise UnsupportedModel if transformers has no plan for a configuration, or the heads cannot be divided."""
    text = config.get_text_config(decoder=True)
    plan = getattr(text, "base_model_tp_plan", None) or {}
    if not plan:
        raise UnsupportedModel(
            f"{label}: {SETTING} needs a tensor-parallel plan, and transformers has none for {text.model_type}. "
            "PROMPTATLAS_DEVICE_MAP places the layers of such a model on several devices."
        )
    n_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    if get_kv_heads_per_rank(plan, n_heads, size) is None:
        raise UnsupportedModel(f"{label}: {SETTING}: expected a divisor of the {n_heads} key/value heads, got {size}.")


def require_divisible(model: nn.Module, plan: Mapping[str, str], *, size: int) -> None:
    """Raise UnsupportedModel if a divided layer's width is no multiple of the number of ranks."""
    for path, module in model.named_modules():
        width = _divided_width(module, plan.get(_generic(path)))
        if width is not None and width % size:
            raise UnsupportedModel(f"{SETTING}: expected a divisor of {width}, the width of {path}, got {size}.")


def _divided_width(module: nn.Module, style: str | None) -> int | None:
    name = {"colwise": "out_features", "rowwise": "in_features"}.get(style or "")
    width = getattr(module, name, None) if name is not None else None
    return width if isinstance(width, int) else None


def _colwise_widths(path: str, modules: Mapping[str, nn.Module], plan: Mapping[str, str]) -> set[int]:
    """Widths of the ``colwise`` layers with the same parent. What lies between one and the ``rowwise`` layer has its width."""
    parent = path.rpartition(".")[0]
    styles = {name: plan.get(_generic(f"{parent}.{name}")) for name, _ in modules[parent].named_children()}
    widths = {
        _divided_width(modules[f"{parent}.{name}"], style) for name, style in styles.items() if style == "colwise"
    }
    return {width for width in widths if width is not None}


def _generic(path: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path)
