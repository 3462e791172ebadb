"""Network of the variational autoencoder: encoder, decoder, and noise of the likelihood."""

from __future__ import annotations

import torch
from torch import nn

from service.engine.shapes import Float, Tensor
from workers.priors.distributions.normal import LOG_2PI

MIN_LOG_SCALE = -6.0
"""Lower limit of the noise. Without it, a dimension that is constant in the data has infinite likelihood."""


class VaeNetwork(nn.Module):
    """p(x|z) = N(decode(z), diag(noise²)), p(z) = N(0, I), q(z|x) = N(mean(x), diag(scale(x)²)).

    Args:
        noise: initial scale of the likelihood, `[d]`. learn_noise: whether the scale is trained.
        generator: of the initial weights.
    """

    def __init__(
        self, *, noise: Float[Tensor, " d"], d_latent: int, d_hidden: int, learn_noise: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.d_latent = d_latent
        d = len(noise)
        self.encoder = _perceptron(d, d_hidden, 2 * d_latent, generator=generator)
        self.decoder = _perceptron(d_latent, d_hidden, d, generator=generator)
        self.log_noise = nn.Parameter(noise.log(), requires_grad=learn_noise)

    def encode(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n latent"], Float[Tensor, "n latent"]]:
        """Mean and log-scale of q(z|x)."""
        mean, log_scale = self.encoder(x).chunk(2, dim=1)
        return mean, log_scale.clamp(-8.0, 4.0)

    def noise(self) -> Float[Tensor, " d"]:
        """Standard deviation of the likelihood in each dimension."""
        return self.log_noise.clamp(min=MIN_LOG_SCALE).exp()

    def log_likelihood(self, x: Float[Tensor, "*n d"], z: Float[Tensor, "*n latent"]) -> Float[Tensor, "*n"]:
        """log p(x|z) in nats."""
        noise = self.noise()
        error = (x - self.decoder(z)) / noise
        log_likelihood: Tensor = -0.5 * (error.square().sum(-1) + 2 * noise.log().sum() + x.shape[-1] * LOG_2PI)
        return log_likelihood

    def divergence(
        self, mean: Float[Tensor, "n latent"], log_scale: Float[Tensor, "n latent"]
    ) -> Float[Tensor, "n latent"]:
        """KL(q(z|x) ‖ p(z)) of each latent dimension, in nats."""
        return 0.5 * (mean.square() + (2 * log_scale).exp() - 1) - log_scale


def _perceptron(d_in: int, d_hidden: int, d_out: int, *, generator: torch.Generator) -> nn.Sequential:
    linears = [nn.Linear(a, b) for a, b in ((d_in, d_hidden), (d_hidden, d_hidden), (d_hidden, d_out))]
    for linear in linears:
        nn.init.kaiming_uniform_(linear.weight, nonlinearity="linear", generator=generator)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(linears[0], nn.SiLU(), linears[1], nn.SiLU(), linears[2])
