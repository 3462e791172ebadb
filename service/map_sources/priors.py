"""Draws of a prior, for each layer those that tuning draws there."""

from __future__ import annotations

from promptatlas.types.maps import PriorSource

from service.map_sources.interface import SourceContext


async def add_prior(source: PriorSource, *, name: str, to: SourceContext) -> None:
    """Layer 0: draws for a soft prompt; other layers: for a deep one. A seed gives the draws of a ``sample`` run."""
    for i, layer in enumerate(to.layers):
        draws = await to.reader.prior_draws(source, layer=layer)
        to.points.add(layer, draws, source=name, role="draw")
        to.progress((i + 1) / len(to.layers))
