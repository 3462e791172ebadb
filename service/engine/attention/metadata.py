"""Attention metadata of whole sequences without a cache.

``PackedMetadata``     whole sequences without a cache: captures, scoring, tuning (differentiable).
``RecordingMetadata``  one sequence whose keys and values are kept: prompt compilation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from service.engine.attention.kernels import (
    AttentionSpec,
    attend_sequence,
    causal_mask,
)
from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.attention.reads import AttentionReads
from service.engine.shapes import Tensor


@dataclass(frozen=True)
class SequenceGroup:
    """``n_rows`` whole sequences of ``length`` text tokens under one prompt, packed from index ``offset``."""

    offset: int
    n_rows: int
    length: int
    prompt: CompiledPrompt | None

    @property
    def n_virtual(self) -> int:
        return self.prompt.n_virtual if self.prompt is not None else 0

    @property
    def n_tokens(self) -> int:
        return self.n_rows * self.length


class PackedMetadata:
    """Whole sequences, concatenated; gradients flow into the prompts' keys and values."""

    indices: tuple[Tensor, ...] = ()

    def __init__(self, groups: Sequence[SequenceGroup], *, reads: AttentionReads | None = None) -> None:
        self.groups = groups
        self._reads = reads
        self.positions = torch.cat([torch.arange(g.n_virtual, g.n_virtual + g.length).repeat(g.n_rows) for g in groups])

    def place(self, indices: Sequence[Tensor]) -> None:
        """Nothing: groups are slices."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, spec: AttentionSpec) -> Tensor:
        parts = []
        reads = self._reads if self._reads is not None and self._reads.includes(layer) else None
        for group in self.groups:
            q, k, v = (_rows_of(group, t) for t in (query, key, value))
            if group.prompt is not None and (prefix := group.prompt.keys[layer]) is not None:
                k = torch.cat([prefix.to(k.dtype).expand(group.n_rows, *prefix.shape), k], dim=2)
                prefix = group.prompt.values[layer]
                assert prefix is not None
                v = torch.cat([prefix.to(v.dtype).expand(group.n_rows, *prefix.shape), v], dim=2)
            parts.append(attend_sequence(q, k, v, spec=spec).transpose(1, 2).flatten(0, 1))
            if reads is not None:
                _report_group(reads, layer, group, q, k, spec=spec)
        if reads is not None:
            reads.finish(layer)
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _report_group(
    reads: AttentionReads, layer: int, group: SequenceGroup, query: Tensor, keys: Tensor, *, spec: AttentionSpec
) -> None:
    visible = causal_mask(group.length, keys.shape[2], window=spec.window, device=query.device)
    for row in range(group.n_rows):
        reads.report(
            layer,
            query[row].transpose(0, 1),
            keys[row],
            offset=group.offset + row * group.length,
            visible=visible,
            spec=spec,
            n_absent=group.n_virtual + group.length - keys.shape[2],
        )


def _rows_of(group: SequenceGroup, packed: Tensor) -> Tensor:
    """`[tokens, heads, d]` → `[rows, heads, length, d]` of one group."""
    part = packed[group.offset : group.offset + group.n_tokens]
    return part.reshape(group.n_rows, group.length, *part.shape[1:]).transpose(1, 2)


class RecordingMetadata:
    """One sequence, causally, keeping each layer's key and value as `[heads, tokens, d]`.

    Args:
        on_layer: called with each layer that has been recorded; may raise to stop the forward.
        reads: sites that the attention reports.
    """

    def __init__(
        self,
        n_tokens: int,
        *,
        on_layer: Callable[[int], None] | None = None,
        reads: AttentionReads | None = None,
    ) -> None:
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self.positions = torch.arange(n_tokens)
        self._on_layer = on_layer
        self._reads = reads

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, spec: AttentionSpec) -> Tensor:
        q, k, v = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
        self.keys[layer], self.values[layer] = k, v
        if self._reads is not None and self._reads.includes(layer):
            visible = causal_mask(len(query), len(query), window=spec.window, device=query.device)
            self._reads.report(layer, query, k, offset=0, visible=visible, spec=spec)
            self._reads.finish(layer)
        if self._on_layer is not None:
            self._on_layer(layer)
        return attend_sequence(q[None], k[None], v[None], spec=spec)[0].transpose(0, 1)
