"""The ``vae`` prior: samples of a variational autoencoder that is trained on a cloud.

A plain autoencoder collapses on such data. This one differs in four points:

- The scale of the likelihood is learned per axis, starting at that of the data, instead of being 1.
- The KL divergence is weighted in slowly, and some nats of each latent dimension are free. Otherwise it closes the latent
  dimensions before the decoder has learned to use them.
- Latents are sampled from a mixture fitted to the encoded points (Ghosh et al., 2020), instead of N(0, I), where few
  encoded points are.
- A sample includes the noise of the likelihood; it is not the decoder's mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from promptatlas.types.priors import VaePrior

from service.engine.shapes import Float, Tensor
from workers.priors.distributions.chunks import chunks
from workers.priors.distributions.moments import measure, no_check
from workers.priors.distributions.normal import LOG_2PI, fit_normal
from workers.priors.distributions.random_streams import generator_for, normal_rows, split
from workers.priors.distributions.spread import effective_rank, variance_ratios
from workers.priors.prior import Prior, Space
from workers.priors.sources.sources import Sources
from workers.priors.vae.axes import Axes, plain_axes, principal_axes
from workers.priors.vae.latent import LatentDistribution
from workers.priors.vae.network import VaeNetwork
from workers.priors.vae.training import Recipe, train

N_IMPORTANCE = 64
"""Importance samples per log-density."""

MIN_ACTIVE_NATS = 0.01
"""A latent dimension with at most this divergence above the free nats has collapsed."""

N_GAIN = 256
"""Largest number of unseen points for the comparison with a normal distribution."""

_MEASURED_ROWS = 2000


class Vae(Prior):
    """A trained autoencoder with the distribution of its latents.

    Args:
        with_noise: a sample is drawn from the likelihood; otherwise it is the likelihood's mean.
        recipe: of its training; the seed is also used for the noise of ``log_prob`` and the facts.
        points: the training points.
    """

    name = "vae"

    def __init__(
        self,
        network: VaeNetwork,
        *,
        axes: Axes,
        latent: LatentDistribution,
        with_noise: bool,
        recipe: Recipe,
        points: Float[Tensor, "n d_model"],
    ) -> None:
        self._network = network
        self._axes = axes
        self._latent = latent
        self._with_noise = with_noise
        importance = generator_for(recipe.seed, "importance")
        # `[samples, 1, latent]`: every vector gets the same noise, so its density does not depend on the batch.
        self._noise = normal_rows(N_IMPORTANCE, network.d_latent, generator=importance)[:, None]
        self.facts = self._facts(points, free_nats=recipe.free_bits, generator=generator_for(recipe.seed, "facts"))

    @classmethod
    def fit(cls, spec: VaePrior, *, space: Space, sources: Sources) -> Vae:
        return cls.train(sources.points(spec.fit, layer=space.layer), recipe=recipe_of(spec), check=sources.check)

    @classmethod
    def train(cls, points: Float[Tensor, "n d_model"], *, recipe: Recipe, check: Callable[[], None] = no_check) -> Vae:
        """Train the autoencoder of a cloud."""
        axes = principal_axes(measure(points, check=check))
        along = axes.to(points)
        # Evaluated in float64, so that a sample does not depend on its batch.
        network, unseen = train(along.float(), recipe=recipe, check=check)
        network.double()
        seen = torch.ones(len(points), dtype=torch.bool).index_fill(0, unseen, False)
        mean, log_scale = network.encode(along[seen])
        for_latents, for_distribution = split(generator_for(recipe.seed, "latent"), 2)
        noise = normal_rows(len(mean), recipe.d_latent, generator=for_latents)
        latent = LatentDistribution.fit(mean + log_scale.exp() * noise, generator=for_distribution)
        prior = cls(network, axes=axes, latent=latent, with_noise=True, recipe=recipe, points=points)
        if axes.is_regular and len(unseen):
            prior.facts = {
                **prior.facts,
                "held_out_gain": prior.gain(points[unseen], cloud=points[seen]),
            }
        return prior

    @classmethod
    def train_naively(
        cls, points: Float[Tensor, "n d_model"], *, recipe: Recipe, check: Callable[[], None] = no_check
    ) -> Vae:
        """Train a plain autoencoder for comparison: raw coordinates, unit likelihood, N(0, I), the decoder's mean."""
        recipe = recipe.naive()
        network = train(points, recipe=recipe, check=check)[0].double()
        latent = LatentDistribution.standard(recipe.d_latent)
        axes = plain_axes(points.shape[1])
        return cls(network, axes=axes, latent=latent, with_noise=False, recipe=recipe, points=points)

    def sample(self, n: int, *, generator: torch.Generator) -> Float[Tensor, "n d_model"]:
        for_latents, for_noise = split(generator, 2)
        latents = self._latent.sample(n, generator=for_latents)
        samples = torch.empty(n, len(self._axes.mean))
        for chunk in chunks(n):
            y = self._network.decoder(latents[chunk])
            if self._with_noise:
                y = y + self._network.noise() * normal_rows(*y.shape, generator=for_noise)
            samples[chunk] = self._axes.back(y)
        return samples

    def log_prob(self, vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, " n"]:
        """Importance-sampling estimate with fixed noise (Burda et al., 2016); a lower bound in expectation."""
        if not self._axes.is_regular:
            self._refuse_density("its source does not vary in every dimension; fit it to more, or more varied, points")
        y = self._axes.to(vectors)
        mean, log_scale = self._network.encode(y)
        z = mean + log_scale.exp() * self._noise
        log_proposal = -(0.5 * (self._noise.square() + LOG_2PI) + log_scale).sum(-1)
        log_ratio = self._latent.log_density(z) - log_proposal
        each = self._network.log_likelihood(y.expand(N_IMPORTANCE, -1, -1), z) + log_ratio
        bound: Tensor = torch.logsumexp(each, dim=0) - math.log(N_IMPORTANCE) - self._axes.log_volume()
        return bound.to(vectors.device)

    def gain(self, unseen: Float[Tensor, "n d_model"], *, cloud: Float[Tensor, "m d_model"]) -> float:
        """Mean log-density of unseen points minus that of a normal distribution fitted to the cloud, in nats."""
        unseen = unseen[:: -(-len(unseen) // N_GAIN)]
        normal, _ = fit_normal(measure(cloud), shrinkage="auto")
        of_normal = normal.log_density(normal.squared_distance(unseen)).mean()
        return float(self.log_prob(unseen).mean() - of_normal)

    def _facts(self, points: Tensor, *, free_nats: float, generator: torch.Generator) -> dict[str, float | str]:
        """Facts that show a collapse: spread of samples and of equally many data points, and use of the latents."""
        for_points, for_samples = split(generator, 2)
        chosen = torch.randperm(len(points), generator=for_points)[:_MEASURED_ROWS]
        sampled = points[chosen]
        samples = self.sample(len(sampled), generator=for_samples)
        ratios = variance_ratios(samples, data=sampled)
        nats = self._network.divergence(*self._network.encode(self._axes.to(sampled))).mean(0)
        return {
            "n_points": float(len(points)),
            "data_effective_rank": effective_rank(sampled),
            "effective_rank": effective_rank(samples),
            "variance_ratio_median": float(ratios.median()),
            "variance_ratio_min": float(ratios.min()),
            "variance_ratio_max": float(ratios.max()),
            "active_latents": float((nats > 1.1 * free_nats + MIN_ACTIVE_NATS).sum()),
            "latent_nats": float(nats.sum()),
            "latent_components": float(self._latent.n_components),
        }


def recipe_of(spec: VaePrior) -> Recipe:
    """The training recipe of a prior on the wire."""
    return Recipe(
        d_latent=spec.d_latent,
        d_hidden=spec.d_hidden,
        epochs=spec.epochs,
        lr=spec.lr,
        batch_size=spec.batch_size,
        seed=spec.seed,
        free_bits=spec.free_bits,
        warmup=spec.warmup,
    )
