"""Langevin dynamics of one chain: SGLD (Welling and Teh 2011) and pSGLD (Li et al. 2016, without its Γ term)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping

import torch

from service.engine.shapes import Tensor

DECAY, DAMPING = 0.99, 1e-5
"""Of pSGLD's mean squared gradient, as in Li et al."""


class LangevinOptimizer:
    """θ ← θ − ε G∘g + √(2 ε G T / N) ξ, with ε the learning rate and g the gradient of −log p(θ | data) / N.

    With the step size η = 2 ε / N this is Welling and Teh's θ + (η/2) ∇log p + √η ξ. G is 1, or 1 / (λ + √V) for pSGLD, with
    V the decaying mean of g². The noise ξ depends only on the seed, the step and the tensor's name, so a resumed chain
    continues bitwise. Gradients are not clipped, because clipping changes the distribution.

    Args:
        lr: highest learning rate. schedule: its factor, by the number of the update. seed: of the chain.
        noise: T / N. is_preconditioned: whether G is that of pSGLD.
    """

    def __init__(
        self,
        leaves: Mapping[str, Tensor],
        *,
        lr: float,
        schedule: Callable[[int], float],
        seed: int,
        noise: float,
        is_preconditioned: bool = False,
    ) -> None:
        self._leaves = leaves
        self._lr = lr
        self._schedule = schedule
        self._seed = seed
        self._noise_scale = noise
        self._is_preconditioned = is_preconditioned
        self._n_updates = 0
        self._squares = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}

    def rate(self, step: int, *, scale: float) -> float:
        """Learning rate of update ``step``: the rate of the schedule times ``scale``."""
        return self._lr * self._schedule(step) * scale

    def gradient_norm(self) -> Tensor:
        """Norm of the accumulated gradient, a scalar."""
        return torch.nn.utils.get_total_norm([leaf.grad for leaf in self._leaves.values() if leaf.grad is not None])

    @torch.no_grad()
    def update(self, *, rate: float, norm: Tensor) -> None:
        """Apply an update. norm: is not used; see the class."""
        variance = 2.0 * rate * self._noise_scale
        for name, leaf in self._leaves.items():
            gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            noise = self._noise(name, leaf)
            if self._is_preconditioned:
                square = self._squares[name].mul_(DECAY).addcmul_(gradient, gradient, value=1 - DECAY)
                inverse = 1.0 / (DAMPING + square.sqrt())
                leaf -= rate * inverse * gradient
                leaf += (variance * inverse).sqrt() * noise
            else:
                leaf -= rate * gradient
                leaf += math.sqrt(variance) * noise
        self._n_updates += 1

    def zero_grad(self) -> None:
        for leaf in self._leaves.values():
            leaf.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """State apart from the gradient: ``leaf/…``, ``square/…`` and ``n_updates``. The tensors are not copied."""
        found = {f"leaf/{name}": leaf.detach() for name, leaf in self._leaves.items()}
        found |= {f"square/{name}": square for name, square in self._squares.items()}
        return {**found, "n_updates": torch.tensor(self._n_updates)}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy the state that ``tensors()`` returned."""
        for name, leaf in self._leaves.items():
            leaf.copy_(tensors[f"leaf/{name}"])
            self._squares[name].copy_(tensors[f"square/{name}"])
        self._n_updates = int(tensors["n_updates"])

    def _noise(self, name: str, leaf: Tensor) -> Tensor:
        digest = hashlib.blake2b(f"{self._seed}/{self._n_updates}/{name}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        return torch.randn(leaf.shape, generator=generator).to(leaf.device)
