"""Langevin dynamics of one chain: SGLD (Welling and Teh 2011) and pSGLD (Li et al. 2016)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from service.engine.shapes import Tensor


@dataclass(frozen=True, kw_only=True)
class Preconditioner:
    """Of pSGLD (Li et al. 2016): G = 1 / (λ + √V), with V the decaying mean of the squared gradient.

    Attributes:
        decay: α of the mean. damping: λ. has_gamma: whether the drift has the term Γ = ∂G/∂θ.
    """

    decay: float = 0.99
    damping: float = 1e-5
    has_gamma: bool = False


class LangevinOptimizer:
    """θ ← θ − ε G∘g + √(2 ε G T / N) ξ, with ε the learning rate and g the gradient of −log p(θ | data) / N.

    With the step size η = 2 ε / N this is Welling and Teh's θ + (η/2) ∇log p + √η ξ. G is 1, or 1 / (λ + √V) for pSGLD, with
    V ← α V + (1 − α) g². With its term Γ, the drift also has ε T / N · Γ, where Γ = ∂G/∂θ = −(1 − α) G² g H / √V and H is the
    diagonal of the Hessian, ∂g/∂θ. Without Γ, and with G a function of θ alone (α = 0), the chain has the density
    p(θ | data)^(1/T) / G. The noise ξ depends only on the seed, the step and the tensor's name, so a resumed chain
    continues bitwise. Gradients are not clipped, because clipping changes the distribution.

    Args:
        lr: highest learning rate. schedule: its factor, by the number of the update. seed: of the chain.
        noise: T / N. preconditioner: None: G is 1.

    Attributes:
        curvature: the diagonal H of each leaf at the current point, or an unbiased estimate; read with Γ only.
    """

    def __init__(
        self,
        leaves: Mapping[str, Tensor],
        *,
        lr: float,
        schedule: Callable[[int], float],
        seed: int,
        noise: float,
        preconditioner: Preconditioner | None = None,
    ) -> None:
        self.leaves = leaves
        self._lr = lr
        self._schedule = schedule
        self.seed = seed
        self._noise_scale = noise
        self._preconditioner = preconditioner
        self.curvature: Mapping[str, Tensor] = {}
        self._n_updates = 0
        self._squares = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}

    def rate(self, step: int, *, scale: float) -> float:
        """Learning rate of update ``step``: the rate of the schedule times ``scale``."""
        return self._lr * self._schedule(step) * scale

    def gradient_norm(self) -> Tensor:
        """Norm of the accumulated gradient, a scalar."""
        return torch.nn.utils.get_total_norm([leaf.grad for leaf in self.leaves.values() if leaf.grad is not None])

    @torch.no_grad()
    def update(self, *, rate: float, norm: Tensor) -> None:
        """Apply an update. norm: is not used; see the class."""
        variance = 2.0 * rate * self._noise_scale
        for name, leaf in self.leaves.items():
            gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            noise = self._noise(name, leaf)
            if self._preconditioner is not None:
                drift, inverse = self._preconditioned(name, gradient, preconditioner=self._preconditioner)
                leaf -= rate * drift
                leaf += (variance * inverse).sqrt() * noise
            else:
                leaf -= rate * gradient
                leaf += math.sqrt(variance) * noise
        self._n_updates += 1

    def _preconditioned(self, name: str, gradient: Tensor, *, preconditioner: Preconditioner) -> tuple[Tensor, Tensor]:
        """The drift G∘g − T/N Γ, and G."""
        decay = preconditioner.decay
        square = self._squares[name].mul_(decay).addcmul_(gradient, gradient, value=1 - decay)
        root = square.sqrt()
        inverse = 1.0 / (preconditioner.damping + root)
        drift = inverse * gradient
        if preconditioner.has_gamma:
            # g / √V is at most 1 / √(1 − α); where V is 0, g is 0.
            ratio = torch.where(root > 0, gradient / root, torch.zeros_like(root))
            gamma = -(1 - decay) * inverse.square() * ratio * self.curvature[name]
            drift = drift - self._noise_scale * gamma
        return drift, inverse

    def zero_grad(self) -> None:
        for leaf in self.leaves.values():
            leaf.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """State apart from the gradient: ``leaf/…``, ``square/…`` and ``n_updates``. The tensors are not copied."""
        found = {f"leaf/{name}": leaf.detach() for name, leaf in self.leaves.items()}
        found |= {f"square/{name}": square for name, square in self._squares.items()}
        return {**found, "n_updates": torch.tensor(self._n_updates)}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy the state that ``tensors()`` returned."""
        for name, leaf in self.leaves.items():
            leaf.copy_(tensors[f"leaf/{name}"])
            self._squares[name].copy_(tensors[f"square/{name}"])
        self._n_updates = int(tensors["n_updates"])

    def _noise(self, name: str, leaf: Tensor) -> Tensor:
        digest = hashlib.blake2b(f"{self.seed}/{self._n_updates}/{name}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        return torch.randn(leaf.shape, generator=generator).to(leaf.device)
