"""Attention of many chunks of input at once, for devices on which each launch costs more than padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from service.engine.attention.kernels import AttentionSpec, attend_sequence
from service.engine.attention.kv_cache import KVCache
from service.engine.attention.spans import Span, first_visible_patterns
from service.engine.shapes import Tensor


@dataclass(frozen=True)
class Rectangle:
    """Chunks that are padded to ``new`` queries and ``length`` keys each; less than half of the queries are padding.

    Attributes:
        pattern_at: layer → which of the patterns of first visible entries it has.
        indices: on the host: slots; begins; packed index of each query, padding included; queries that are tokens; packed
            indices of these; then each pattern.
    """

    new: int
    length: int
    pattern_at: tuple[int, ...]
    indices: tuple[Tensor, ...]


def rectangles(chunks: Sequence[Span], *, n_layers: int) -> list[Rectangle]:
    """Chunks by the power of two above their number of tokens, so that the number of launches does not grow with theirs."""
    by_size: dict[int, list[Span]] = {}
    for span in chunks:
        by_size.setdefault((span.n_new - 1).bit_length(), []).append(span)
    return [_rectangle(spans, n_layers=n_layers) for _, spans in sorted(by_size.items())]


def _rectangle(spans: Sequence[Span], *, n_layers: int) -> Rectangle:
    new = max(span.n_new for span in spans)
    patterns, pattern_at = first_visible_patterns(spans, n_layers=n_layers)
    return Rectangle(
        new=new,
        length=max(span.end for span in spans),
        pattern_at=pattern_at,
        indices=(
            _integers(span.slot for span in spans),
            _integers(span.begin for span in spans),
            _integers(span.offset + min(i, span.n_new - 1) for span in spans for i in range(new)),
            _integers(k * new + i for k, span in enumerate(spans) for i in range(span.n_new)),
            _integers(span.offset + i for span in spans for i in range(span.n_new)),
            *map(_integers, patterns),
        ),
    )


class RectangleAttention:
    """A rectangle on one device, over the cache.

    Args:
        indices: those of the rectangle on the device.
    """

    def __init__(self, rectangle: Rectangle, indices: Sequence[Tensor]) -> None:
        self._rectangle = rectangle
        self._slots, self._begins, self._padded, self._is_token, self._packed, *self._firsts = indices
        self._biases: dict[tuple[int | None, int], Tensor] = {}

    def attend(self, cache: KVCache, layer: int, query: Tensor, out: Tensor, *, spec: AttentionSpec) -> None:
        """Write the rows of the chunks' tokens in ``out`` `[tokens, n_heads, d_value]`."""
        shape = self._rectangle
        found = attend_sequence(
            query[self._padded].view(len(self._slots), shape.new, *query.shape[1:]).transpose(1, 2),
            cache.keys[layer][:, :, : shape.length][self._slots],
            cache.values[layer][:, :, : shape.length][self._slots],
            spec=spec,
            bias=self._bias(layer, window=spec.window, like=query),
        )
        # Rows of the padding may attend to nothing and be NaN; they are dropped here.
        out[self._packed] = found.transpose(1, 2).flatten(0, 1)[self._is_token]

    def _bias(self, layer: int, *, window: int | None, like: Tensor) -> Tensor:
        """`[rows, 1, new, length]`, 0 where a query attends and −inf elsewhere."""
        shape, pattern = self._rectangle, self._rectangle.pattern_at[layer]
        if (window, pattern) not in self._biases:
            query_at = self._begins[:, None, None] + torch.arange(shape.new, device=like.device)[:, None]
            key_at = torch.arange(shape.length, device=like.device)
            hidden = (key_at > query_at) | (key_at < self._firsts[pattern][:, None, None])
            if window is not None:
                hidden |= key_at <= query_at - window
            bias = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
            self._biases[window, pattern] = bias.masked_fill_(hidden, -torch.inf)[:, None]
        return self._biases[window, pattern]


def _integers(values: Iterable[int]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.int64)
