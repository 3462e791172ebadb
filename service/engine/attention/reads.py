"""Reads of sites that the attention reports, such as the attention pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch.nn import functional as F  # noqa: N812 (the usual name)

from service.engine.attention.kernels import REPORTED_SITES, AttentionSpec
from service.engine.shapes import Bool, Float, Tensor

AttentionSink = Callable[[str, int, int, Tensor], None]
"""Receives (site, layer, index of a row's first packed token, its tensor `[new, n_heads, n_keys]`, virtual keys first)."""


@dataclass(frozen=True)
class AttentionReads:
    """What one forward reads of its attention.

    Attributes:
        layers: the layers to report, by site.
        sink: receives each row's tensor.
        on_done: called with (site, layer) when all rows of that layer have been reported; may raise to stop the forward.
        whole: a tensor `[new, n_heads, n_keys]` of all heads, from that of the heads of this process; None: it has all heads.
    """

    layers: Mapping[str, frozenset[int]]
    sink: AttentionSink
    on_done: Callable[[str, int], None]
    whole: Callable[[Tensor], Tensor] | None = None

    def includes(self, layer: int) -> bool:
        return any(layer in layers for layers in self.layers.values())

    def report(
        self,
        layer: int,
        query: Float[Tensor, "new n_heads d"],
        keys: Float[Tensor, "n_kv_heads length d"],
        *,
        offset: int,
        visible: Bool[Tensor, "new length"],
        spec: AttentionSpec,
        n_absent: int = 0,
    ) -> None:
        """Compute and report the sites of one row.

        Args:
            offset: packed index of the row's first new token.
            n_absent: virtual positions that have no keys in this layer; they count as keys of value 0 in front.
        """
        for site, layers in self.layers.items():
            if layer in layers:
                rows = REPORTED_SITES[site](query, keys, visible=visible, spec=spec)
                rows = rows if self.whole is None else self.whole(rows)
                self.sink(site, layer, offset, F.pad(rows, (n_absent, 0)) if n_absent else rows)

    def finish(self, layer: int) -> None:
        """All rows of the layer have been reported."""
        for site, layers in self.layers.items():
            if layer in layers:
                self.on_done(site, layer)
