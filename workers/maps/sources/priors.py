"""Draws of a prior, at each layer as tuning there would draw them."""

from __future__ import annotations

from promptatlas.types.maps import PriorSource

from workers.maps.layer_points import PointCollector
from workers.priors.distributions.random_streams import generator_for
from workers.priors.kinds.registry import build_prior
from workers.priors.prior import Space


def add_prior(source: PriorSource, *, name: str, to: PointCollector) -> None:
    """At layer 0 those of a soft prompt, above those of a deep one; the same for a seed as a ``sample`` run draws."""
    for i, layer in enumerate(to.layers):
        to.run.check()
        place = None if layer == 0 else layer
        space = Space(d_model=to.model.d_model, n_virtual=source.n, layer=place)
        prior = build_prior(source.prior, space=space, sources=to.priors)
        generator = generator_for(source.seed, "soft" if place is None else f"deep.{place}")
        vectors = prior.sample(source.n, generator=generator).float().numpy()
        to.points[layer].add(vectors, source=name, role="draw")
        to.tell((i + 1) / len(to.layers))
