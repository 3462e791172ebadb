"""Training of the autoencoder, with and without the measures against collapse."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch.nn.utils import clip_grad_norm_

from service.engine.shapes import Float, Int, Tensor
from workers.priors.distributions.random_streams import normal_rows, split
from workers.priors.vae.network import VaeNetwork

HELD_OUT = 0.1
"""Share of the points that are held out, to choose the epoch to keep."""

WEIGHT_DECAY = 0.1

_MAX_GRADIENT_NORM = 10.0
"""Per dimension of the data. Only extreme gradients are clipped."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyperparameters of the training.

    free_bits: nats per latent dimension that the KL divergence does not count. warmup: share of the epochs before the
    divergence has its full weight. learn_noise: train the scale of the likelihood, starting at that of the data; otherwise
    it is 1. keep_best: keep the epoch with the best held-out bound after the warm-up; otherwise the last.
    """

    d_latent: int
    d_hidden: int
    epochs: int
    lr: float
    batch_size: int
    seed: int
    free_bits: float
    warmup: float
    learn_noise: bool = True
    keep_best: bool = True

    def naive(self) -> Recipe:
        """The same without the measures against collapse."""
        return replace(self, free_bits=0.0, warmup=0.0, learn_noise=False, keep_best=False)


def train(
    points: Float[Tensor, "n d"], *, recipe: Recipe, check: Callable[[], None]
) -> tuple[VaeNetwork, Int[Tensor, " held_out"]]:
    """An autoencoder of ``points``, float32 on the CPU, and the indices of the points that were held out. Deterministic.

    Args:
        check: called before each step; raises to stop.
    """
    for_weights, for_order, for_noise, for_held_out = split(torch.Generator().manual_seed(recipe.seed), 4)
    first_noise = points.std(0) if recipe.learn_noise else torch.ones(points.shape[1])
    network = VaeNetwork(
        noise=first_noise,
        d_latent=recipe.d_latent,
        d_hidden=recipe.d_hidden,
        learn_noise=recipe.learn_noise,
        generator=for_weights,
    )
    unseen, seen = _divide(len(points), generator=for_order, keep_best=recipe.keep_best)
    held_out, kept = points[unseen], points[seen]
    trainer = _Training(network, recipe=recipe, n_steps=recipe.epochs * _n_batches(len(kept), recipe))
    best, best_bound = network.state_dict(), -torch.inf
    noise = normal_rows(len(held_out), recipe.d_latent, generator=for_held_out).float()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(kept), generator=for_order)
        for batch in order.tensor_split(_n_batches(len(kept), recipe)):
            check()
            trainer.step(kept[batch], generator=for_noise)
        if recipe.keep_best and (epoch + 1) >= recipe.warmup * recipe.epochs:
            bound = _bound(network, held_out, noise=noise)
            if bound > best_bound:
                best, best_bound = copy.deepcopy(network.state_dict()), bound
    if best_bound > -torch.inf:
        network.load_state_dict(best)
    return network.requires_grad_(False), unseen


class _Training:
    """AdamW with a cosine schedule, and a warm-up of the divergence's weight."""

    def __init__(self, network: VaeNetwork, *, recipe: Recipe, n_steps: int) -> None:
        self._network = network
        self._recipe = recipe
        self._n_steps = n_steps
        self._n_done = 0
        weights = {"params": [*network.encoder.parameters(), *network.decoder.parameters()]}
        noise = {"params": [network.log_noise], "weight_decay": 0.0}
        self._parameters = [*weights["params"], network.log_noise]
        self._optimizer = torch.optim.AdamW((weights, noise), lr=recipe.lr, weight_decay=WEIGHT_DECAY, fused=True)

    def step(self, x: Float[Tensor, "n d"], *, generator: torch.Generator) -> None:
        """One optimizer step on a batch."""
        mean, log_scale = self._network.encode(x)
        noise = torch.randn(mean.shape, generator=generator)
        fit = self._network.log_likelihood(x, mean + log_scale.exp() * noise).mean()
        divergence = self._network.divergence(mean, log_scale).mean(0)
        cost = divergence.clamp(min=self._recipe.free_bits).sum()
        loss = self._weight() * cost - fit
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(self._parameters, _MAX_GRADIENT_NORM * x.shape[1], foreach=True)
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.lr * (1 + math.cos(math.pi * self._n_done / self._n_steps)) / 2
        self._optimizer.step()
        self._n_done += 1

    def _weight(self) -> float:
        """Weight of the divergence: 0 in the first half of the warm-up, rising in the second half, then 1.

        A weight above 0 in the first steps closes the latents before the decoder uses them.
        """
        warmup = self._recipe.warmup * self._n_steps
        return 1.0 if self._n_done >= warmup else max(2 * self._n_done / warmup - 1, 0.0)


def _divide(n: int, *, generator: torch.Generator, keep_best: bool) -> tuple[Tensor, Tensor]:
    """Indices of the points that are held out, and of those that are not."""
    n_held_out = max(int(HELD_OUT * n), 1) if keep_best else 0
    order = torch.randperm(n, generator=generator)
    return order[:n_held_out], order[n_held_out:]


def _n_batches(n: int, recipe: Recipe) -> int:
    return max(-(-n // recipe.batch_size), 1)


@torch.no_grad()
def _bound(network: VaeNetwork, x: Tensor, *, noise: Tensor) -> float:
    """Held-out lower bound on log p(x), in nats per point."""
    mean, log_scale = network.encode(x)
    fit = network.log_likelihood(x, mean + log_scale.exp() * noise)
    return float((fit - network.divergence(mean, log_scale).sum(1)).mean())
