"""Attention plans: what the packed tokens of one forward look at.

``BatchMetadata``       running rows over the cache: one new token each, or a chunk of input.
``PackedMetadata``  whole sequences with nothing kept: captures, scoring, tuning (differentiable).
``RecordingMetadata`` one sequence whose keys and values are kept: compiling a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from service.engine.attention.kernels import attend_rows, attend_sequence, attention_probabilities, causal_mask
from service.engine.attention.kv_cache import CompiledPrompt, KVCache
from service.engine.shapes import Float, Tensor

ProbabilitySink = Callable[[int, int, Float[Tensor, "new n_heads n_keys"]], None]
"""Receives (layer, index of the first packed token, pattern over all positions of the row, virtual ones first)."""

# What one call of attention costs beside its arithmetic, in multiples of reading one value of the cache. Fitted on a CPU:
# 12 µs a call against 0.11 ns a value. Only the choice between two equal results depends on it.
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
    """Rows over the cache. ``spans`` are in packed order; the first ``n_decode`` have one token and slots 0…n_decode−1."""

    def __init__(
        self,
        cache: KVCache,
        spans: Sequence[Span],
        *,
        n_decode: int,
        on_probabilities: ProbabilitySink | None = None,
        probability_layers: frozenset[int] = frozenset(),
    ) -> None:
        self._cache = cache
        self._decode = spans[:n_decode]
        self._chunks = spans[n_decode:]
        self._sink = on_probabilities
        self._probability_layers = probability_layers
        self._slots = torch.tensor([s.slot for s in spans for _ in range(s.n_new)])
        self.positions = torch.tensor([p for s in spans for p in range(s.begin, s.end)])
        self._longest = max((s.end for s in self._decode), default=0)
        self._hides = any(s.prompt is not None and s.prompt.hides_somewhere for s in self._decode)
        self._biases: dict[tuple[int | None, tuple[int, ...], torch.device], Tensor | None] = {}
        self._placed: dict[torch.device, tuple[Tensor, Tensor]] = {}

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
        slots, positions = self._indices(key.device)
        self._cache.write(layer, slots, positions, key, value)
        parts = []
        if self._decode:
            parts.append(
                self._attend_decode(layer, query[: len(self._decode)], window=window, scale=scale, softcap=softcap)
            )
        parts += [
            self._attend_chunk(layer, span, query, window=window, scale=scale, softcap=softcap) for span in self._chunks
        ]
        if layer in self._probability_layers:
            self._report_probabilities(layer, query, window=window, scale=scale, softcap=softcap)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _indices(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._placed:
            self._placed[device] = (self._slots.to(device), self.positions.to(device))
        return self._placed[device]

    def _attend_decode(
        self, layer: int, query: Tensor, *, window: int | None, scale: float, softcap: float | None
    ) -> Tensor:
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        if query.device.type == "cpu" and self._row_by_row_is_cheaper(keys):
            return torch.cat(
                [
                    attend_rows(
                        query[i : i + 1],
                        keys[i : i + 1, :, lo : span.end],
                        values[i : i + 1, :, lo : span.end],
                        bias=None,
                        scale=scale,
                        softcap=softcap,
                    )
                    for i, span in enumerate(self._decode)
                    for lo in (max(span.first_visible(layer), span.end - window if window is not None else 0),)
                ]
            )
        n, length = len(self._decode), self._longest
        bias = self._bias(layer, window=window, like=query)
        return attend_rows(query, keys[:n, :, :length], values[:n, :, :length], bias=bias, scale=scale, softcap=softcap)

    def _row_by_row_is_cheaper(self, keys: Tensor) -> bool:
        n = len(self._decode)
        wasted = n * self._longest - sum(span.end for span in self._decode)
        return wasted * keys.shape[1] * keys.shape[3] * 2 > n * CALL_COST_IN_VALUES

    def _bias(self, layer: int, *, window: int | None, like: Tensor) -> Tensor | None:
        """`[rows, longest]`, 0 where a row may look and −inf elsewhere; None where every row may look everywhere."""
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

    def _attend_chunk(
        self, layer: int, span: Span, query: Tensor, *, window: int | None, scale: float, softcap: float | None
    ) -> Tensor:
        low = span.first_visible(layer)
        if window is not None:
            low = max(low, span.begin - window + 1)
        out = attend_sequence(
            query[span.offset : span.offset + span.n_new].transpose(0, 1)[None],
            self._cache.keys[layer][span.slot, :, low : span.end][None],
            self._cache.values[layer][span.slot, :, low : span.end][None],
            window=window,
            scale=scale,
            softcap=softcap,
        )
        return out[0].transpose(0, 1)

    def _report_probabilities(
        self, layer: int, query: Tensor, *, window: int | None, scale: float, softcap: float | None
    ) -> None:
        assert self._sink is not None
        for span in (*self._decode, *self._chunks):
            visible = causal_mask(span.n_new, span.end, window=window, device=query.device)
            visible[:, : span.first_visible(layer)] = False
            self._sink(
                layer,
                span.offset,
                attention_probabilities(
                    query[span.offset : span.offset + span.n_new],
                    self._cache.keys[layer][span.slot, :, : span.end],
                    visible=visible,
                    scale=scale,
                    softcap=softcap,
                ),
            )


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
    """Whole sequences side by side; gradients flow into the prompts' keys and values."""

    def __init__(
        self,
        groups: Sequence[SequenceGroup],
        *,
        on_probabilities: ProbabilitySink | None = None,
        probability_layers: frozenset[int] = frozenset(),
        on_probabilities_done: Callable[[int], None] | None = None,
    ) -> None:
        self._groups = groups
        self._sink = on_probabilities
        self._done = on_probabilities_done
        self._probability_layers = probability_layers
        self.positions = torch.cat([torch.arange(g.n_virtual, g.n_virtual + g.length).repeat(g.n_rows) for g in groups])

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
        parts = []
        for group in self._groups:
            q, k, v = (_rows_of(group, t) for t in (query, key, value))
            if group.prompt is not None and (prefix := group.prompt.keys[layer]) is not None:
                k = torch.cat([prefix.to(k.dtype).expand(group.n_rows, *prefix.shape), k], dim=2)
                prefix = group.prompt.values[layer]
                assert prefix is not None
                v = torch.cat([prefix.to(v.dtype).expand(group.n_rows, *prefix.shape), v], dim=2)
            out = attend_sequence(q, k, v, window=window, scale=scale, softcap=softcap)
            parts.append(out.transpose(1, 2).flatten(0, 1))
            if layer in self._probability_layers:
                self._report_probabilities(layer, group, q, k, window=window, scale=scale, softcap=softcap)
        if self._done is not None and layer in self._probability_layers:
            self._done(layer)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _report_probabilities(
        self,
        layer: int,
        group: SequenceGroup,
        q: Tensor,
        k: Tensor,
        *,
        window: int | None,
        scale: float,
        softcap: float | None,
    ) -> None:
        assert self._sink is not None
        visible = causal_mask(group.length, k.shape[2], window=window, device=q.device)
        hidden = group.n_virtual + group.length - k.shape[2]
        for row in range(group.n_rows):
            pattern = attention_probabilities(
                q[row].transpose(0, 1), k[row], visible=visible, scale=scale, softcap=softcap
            )
            # A layer without the prompt still counts its virtual positions among the keys, with probability 0.
            pattern = torch.nn.functional.pad(pattern, (hidden, 0))
            self._sink(layer, group.offset + row * group.length, pattern)


def _rows_of(group: SequenceGroup, packed: Tensor) -> Tensor:
    """`[tokens, heads, d]` → `[rows, heads, length, d]` of one group."""
    part = packed[group.offset : group.offset + group.n_tokens]
    return part.reshape(group.n_rows, group.length, *part.shape[1:]).transpose(1, 2)


class RecordingMetadata:
    """One sequence, causally, keeping each layer's key and value as `[heads, tokens, d]`."""

    def __init__(
        self,
        n_tokens: int,
        *,
        on_layer: Callable[[int], None] | None = None,
        on_probabilities: ProbabilitySink | None = None,
        probability_layers: frozenset[int] = frozenset(),
    ) -> None:
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self.positions = torch.arange(n_tokens)
        self._on_layer = on_layer
        self._sink = on_probabilities
        self._probability_layers = probability_layers

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
        q, k, v = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
        self.keys[layer], self.values[layer] = k, v
        if self._sink is not None and layer in self._probability_layers:
            visible = causal_mask(len(query), len(query), window=window, device=query.device)
            self._sink(layer, 0, attention_probabilities(query, k, visible=visible, scale=scale, softcap=softcap))
        if self._on_layer is not None:
            self._on_layer(layer)
        return attend_sequence(q[None], k[None], v[None], window=window, scale=scale, softcap=softcap)[0].transpose(
            0, 1
        )
