"""Attention metadata of running rows over the cache: one new token each, or a chunk of input."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch

from service.engine.attention.chunks import RectangleAttention, rectangles
from service.engine.attention.kernels import AttentionSpec, attend_rows, attend_sequence, causal_mask
from service.engine.attention.kv_cache import KVCache
from service.engine.attention.reads import AttentionReads
from service.engine.attention.spans import Span, first_visible_patterns
from service.engine.shapes import Tensor
from service.engine.transfers import to_device

# Cost of one attention call apart from its arithmetic, in multiples of reading one value of the cache. Fitted on a CPU:
# 12 µs per call against 0.11 ns per value. It only decides between two equal results.
CALL_COST_IN_VALUES = 110_000


def is_padded(device: torch.device) -> bool:
    """Whether chunks are padded to attend together. On a CPU, one call for each chunk costs less than the padding."""
    return device.type != "cpu"


class BatchMetadata:
    """Rows over the cache.

    Args:
        spans: in packed order.
        n_decode: the first ``n_decode`` spans have one token each, and slots 0…n_decode−1.

    Attributes:
        positions: of the packed tokens, on the host.
        indices: on the host: slots of the packed tokens, their positions, and the end of each decoding row; each pattern of
            first visible entries of these rows; then those of the rectangles of chunks.
    """

    def __init__(
        self, cache: KVCache, spans: Sequence[Span], *, n_decode: int, reads: AttentionReads | None = None
    ) -> None:
        layers = cache.shape.layers
        self.spans = spans
        self.n_decode = n_decode
        self._cache = cache
        self._decode = spans[:n_decode]
        self._chunks = spans[n_decode:]
        self._reads = reads
        self._ends = [span.end for span in self._decode]
        self._longest = max(self._ends, default=0)
        patterns, self._pattern_at = first_visible_patterns(self._decode, n_layers=len(layers))
        self._patterns = patterns
        is_rectangular = len(self._chunks) > 1 and is_padded(layers[0].device)
        self._rectangles = rectangles(self._chunks, n_layers=len(layers)) if is_rectangular else []
        self.positions = torch.tensor([p for s in spans for p in range(s.begin, s.end)])
        self.indices: tuple[Tensor, ...] = (
            torch.tensor([s.slot for s in spans for _ in range(s.n_new)]),
            self.positions,
            torch.tensor(self._ends, dtype=torch.int64),
            *(torch.tensor(pattern, dtype=torch.int64) for pattern in patterns),
            *chain.from_iterable(rectangle.indices for rectangle in self._rectangles),
        )
        self._placed: dict[torch.device, Sequence[Tensor]] = {}
        self._padded: dict[torch.device, list[RectangleAttention]] = {}
        self._biases: dict[tuple[int | None, int, torch.device], Tensor | None] = {}

    def place(self, indices: Sequence[Tensor]) -> None:
        """Take ``indices`` on the device of the first layers."""
        self._placed[indices[0].device] = indices

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, spec: AttentionSpec) -> Tensor:
        slots, positions, *_ = self._on(key.device)
        self._cache.write(layer, slots, positions, key, value)
        parts = []
        if self._decode:
            parts.append(self._attend_decode(layer, query[: len(self._decode)], spec=spec))
        if self._rectangles:
            parts.append(self._attend_together(layer, query, spec=spec)[len(self._decode) :])
        else:
            parts += [self._attend_chunk(layer, span, query, spec=spec) for span in self._chunks]
        if self._reads is not None and self._reads.includes(layer):
            self._report(self._reads, layer, query, spec=spec)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _on(self, device: torch.device) -> Sequence[Tensor]:
        """The indices on a device."""
        if device not in self._placed:
            self._placed[device] = to_device(device, self.indices)
        return self._placed[device]

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
        wasted = n * self._longest - sum(self._ends)
        return wasted * keys.shape[1] * keys.shape[3] * 2 > n * CALL_COST_IN_VALUES

    def _bias(self, layer: int, *, window: int | None, like: Tensor) -> Tensor | None:
        """`[rows, longest]`, 0 where a row attends and −inf elsewhere; None where every row attends to all entries."""
        key = (window, self._pattern_at[layer], like.device)
        if key not in self._biases:
            self._biases[key] = self._build_bias(self._pattern_at[layer], window=window, like=like)
        return self._biases[key]

    def _build_bias(self, pattern: int, *, window: int | None, like: Tensor) -> Tensor | None:
        is_windowed = window is not None and window < self._longest
        if not any(self._patterns[pattern]) and not is_windowed and min(self._ends) == self._longest:
            return None
        _, _, ends, *firsts = self._on(like.device)
        lows = firsts[pattern] if window is None else firsts[pattern].maximum(ends - window)
        at = torch.arange(self._longest, device=like.device)
        hidden = (at >= ends[:, None]) | (at < lows[:, None])
        return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)

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

    def _attend_together(self, layer: int, query: Tensor, *, spec: AttentionSpec) -> Tensor:
        """`[tokens, n_heads, d_value]`; the rows of decoding tokens are not written."""
        if query.device not in self._padded:
            indices = iter(self._on(query.device)[3 + len(self._patterns) :])
            self._padded[query.device] = [
                RectangleAttention(rectangle, [next(indices) for _ in rectangle.indices])
                for rectangle in self._rectangles
            ]
        out = query.new_empty(*query.shape[:2], self._cache.values[layer].shape[-1])
        for rectangle in self._padded[query.device]:
            rectangle.attend(self._cache, layer, query, out, spec=spec)
        return out

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
