"""Spans: the new tokens of one row in a forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.engine.attention.kv_cache import CompiledPrompt


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


def first_visible_patterns(spans: Sequence[Span], *, n_layers: int) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    """The first entries that the rows attend to: all patterns over the rows, and the number of each layer's pattern."""
    if not any(span.prompt is not None and span.prompt.hides_somewhere for span in spans):
        return [(0,) * len(spans)], (0,) * n_layers
    by_layer = [tuple(span.first_visible(layer) for span in spans) for layer in range(n_layers)]
    patterns = sorted(set(by_layer))
    return patterns, tuple(patterns.index(pattern) for pattern in by_layer)
