"""Attention metadata: what the packed tokens of one forward attend to.

``BatchMetadata``      running rows over the cache: one new token each, or a chunk of input.
``PackedMetadata``     whole sequences without a cache: captures, scoring, tuning (differentiable).
``RecordingMetadata``  one sequence whose keys and values are kept: prompt compilation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from service.engine.attention.kernels import (
    AttentionSpec,
    attend_rows,
    attend_sequence,
    causal_mask,
)
from service.engine.attention.kv_cache import CompiledPrompt, KVCache
from service.engine.attention.reads import AttentionReads
from service.engine.shapes import Tensor

# Cost of one attention call apart from its arithmetic, in multiples of reading one value of the cache. Fitted on a CPU:
# 12 µs per call against 0.11 ns per value. It only decides between two equal results.
CALL_COST_IN_VALUES = 110_000


@dataclass(frozen=True)
class Span:
    """Consecutive new tokens of one row: packed index ``offset``, cache positions ``begin``…``end − 1``."""

    slot: int
    offset: int
    begin: int
    end: int
    prompt: CompiledPrompt | None

    @property
    def n_new(self) -> int:
        return self.end - self.begin

    def first_visible(self, layer: int) -> int:
        return self.prompt.first_visible(layer) if self.prompt is not None else 0


class BatchMetadata:
    """Rows over the cache.

    Args:
        spans: in packed order.
        n_decode: the first ``n_decode`` spans have one token each, and slots 0…n_decode−1.
    """

    def __init__(
        self, cache: KVCache, spans: Sequence[Span], *, n_decode: int, reads: AttentionReads | None = None
    ) -> None:
        self.spans = spans
        self.n_decode = n_decode
        self._cache = cache
        self._decode = spans[:n_decode]
        self._chunks = spans[n_decode:]
        self._reads = reads
        self._slots = torch.tensor([s.slot for s in spans for _ in range(s.n_new)])
        self.positions = torch.tensor([p for s in spans for p in range(s.begin, s.end)])
        self._longest = max((s.end for s in self._decode), default=0)
        self._hides = any(s.prompt is not None and s.prompt.hides_somewhere for s in self._decode)
        self._biases: dict[tuple[int | None, tuple[int, ...], torch.device], Tensor | None] = {}
        self._on_device: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, spec: AttentionSpec) -> Tensor:
        slots, positions = self._indices(key.device)
        self._cache.write(layer, slots, positions, key, value)
        parts = []
        if self._decode:
            parts.append(self._attend_decode(layer, query[: len(self._decode)], spec=spec))
        parts += [self._attend_chunk(layer, span, query, spec=spec) for span in self._chunks]
        if self._reads is not None and self._reads.includes(layer):
            self._report(self._reads, layer, query, spec=spec)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _indices(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._on_device:
            self._on_device[device] = (self._slots.to(device), self.positions.to(device))
        return self._on_device[device]

    def _attend_decode(self, layer: int, query: Tensor, *, spec: AttentionSpec) -> Tensor:
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        if query.device.type == "cpu" and self._row_by_row_is_cheaper(keys):
            return torch.cat(
                [
                    attend_rows(
                        query[i : i + 1],
                        keys[i : i + 1, :, low : span.end],
                        values[i : i + 1, :, low : span.end],
                        bias=None,
                        spec=spec,
                    )
                    for i, span in enumerate(self._decode)
                    for low in (
                        max(span.first_visible(layer), span.end - spec.window if spec.window is not None else 0),
                    )
                ]
            )
        n, length = len(self._decode), self._longest
        bias = self._bias(layer, window=spec.window, like=query)
        return attend_rows(query, keys[:n, :, :length], values[:n, :, :length], bias=bias, spec=spec)

    def _row_by_row_is_cheaper(self, keys: Tensor) -> bool:
        n = len(self._decode)
        wasted = n * self._longest - sum(span.end for span in self._decode)
        return wasted * keys.shape[1] * keys.shape[3] * 2 > n * CALL_COST_IN_VALUES

    def _bias(self, layer: int, *, window: int | None, like: Tensor) -> Tensor | None:
        """`[rows, longest]`, 0 where a row attends and −inf elsewhere; None where every row attends to all entries."""
        first = tuple(span.first_visible(layer) for span in self._decode) if self._hides else ()
        key = (window, first, like.device)
        if key not in self._biases:
            self._biases[key] = self._build_bias(first, window=window, like=like)
        return self._biases[key]

    def _build_bias(self, first: tuple[int, ...], *, window: int | None, like: Tensor) -> Tensor | None:
        ends = [span.end for span in self._decode]
        lows = list(first) if first else [0] * len(ends)
        if window is not None:
            lows = [max(low, end - window) for low, end in zip(lows, ends, strict=True)]
        if not any(lows) and min(ends) == self._longest:
            return None
        at = torch.arange(self._longest)[None, :]
        hidden = (at >= torch.tensor(ends)[:, None]) | (at < torch.tensor(lows)[:, None])
        return torch.zeros(hidden.shape, dtype=like.dtype).masked_fill_(hidden, -torch.inf).to(like.device)

    def _attend_chunk(self, layer: int, span: Span, query: Tensor, *, spec: AttentionSpec) -> Tensor:
        low = span.first_visible(layer)
        if spec.window is not None:
            low = max(low, span.begin - spec.window + 1)
        out = attend_sequence(
            query[span.offset : span.offset + span.n_new].transpose(0, 1)[None],
            self._cache.keys[layer][span.slot, :, low : span.end][None],
            self._cache.values[layer][span.slot, :, low : span.end][None],
            spec=spec,
        )
        return out[0].transpose(0, 1)

    def _report(self, reads: AttentionReads, layer: int, query: Tensor, *, spec: AttentionSpec) -> None:
        for span in (*self._decode, *self._chunks):
            visible = causal_mask(span.n_new, span.end, window=spec.window, device=query.device)
            visible[:, : span.first_visible(layer)] = False
            reads.report(
                layer,
                query[span.offset : span.offset + span.n_new],
                self._cache.keys[layer][span.slot, :, : span.end],
                offset=span.offset,
                visible=visible,
                spec=spec,
            )
        reads.finish(layer)


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

    def __init__(self, groups: Sequence[SequenceGroup], *, reads: AttentionReads | None = None) -> None:
        self.groups = groups
        self._reads = reads
        self.positions = torch.cat([torch.arange(g.n_virtual, g.n_virtual + g.length).repeat(g.n_rows) for g in groups])

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
