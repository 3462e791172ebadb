"""Trained parameters of one member, and the prompt that they define."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch

from service.engine.shapes import Float, Tensor


class Parameters(Protocol):
    """Trained tensors (float32 leaves) by name, and constants that are stored with them."""

    leaves: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        """The prompt in the native format, differentiable with respect to the leaves."""


class Direct:
    """The tensors of the prompt are trained directly."""

    def __init__(self, start: Mapping[str, Tensor], *, device: torch.device) -> None:
        # Sorted, because the rounding of the gradient norm depends on the order of the tensors.
        self.leaves: Mapping[str, Tensor] = {name: _leaf(start[name], device) for name in sorted(start)}
        self.constants: Mapping[str, Tensor] = {}

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.leaves)


class PartlyFrozen:
    """The tensors of the prompt without their first virtual positions, which are constants.

    They are no part of a leaf, so neither weight decay nor the gradient norm sees them.

    Args:
        axis: of the virtual positions in each tensor.
    """

    def __init__(self, start: Mapping[str, Tensor], *, n_frozen: int, axis: int, device: torch.device) -> None:
        self._axis = axis
        trained = {name: _after(start[name], n_frozen, axis=axis) for name in sorted(start)}
        frozen = {name: start[name].narrow(axis, 0, n_frozen) for name in sorted(start)}
        self.leaves: Mapping[str, Tensor] = {name: _leaf(tensor, device) for name, tensor in trained.items()}
        self.constants: Mapping[str, Tensor] = {
            f"frozen.{name}": _leaf(tensor, device).detach() for name, tensor in frozen.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        return {
            name: torch.cat([self.constants[f"frozen.{name}"], leaf], self._axis) for name, leaf in self.leaves.items()
        }


class Reparametrised:
    """A prefix that an MLP computes from an embedding of each virtual position.

    The network is PEFT's prefix encoder: embeddings of the width of the keys, initialized from N(0, 1), and two linear
    layers with tanh between them, initialized as in torch. An added constant makes the initial prefix equal to the member's
    draw: prefix = network(now) + (draw − network(start)).
    """

    def __init__(
        self, start: Float[Tensor, "n_layers 2 heads n_virtual d"], *, d_hidden: int, seed: int, device: torch.device
    ) -> None:
        self._shape = tuple(start.shape)
        n_layers, _, n_heads, n_virtual, d_head = start.shape
        generator = torch.Generator().manual_seed(seed)
        width = n_heads * d_head
        drawn = {
            "embedding": torch.randn(n_virtual, width, generator=generator),
            "in.weight": _uniform((d_hidden, width), width, generator),
            "in.bias": _uniform((d_hidden,), width, generator),
            "out.weight": _uniform((n_layers * 2 * width, d_hidden), d_hidden, generator),
            "out.bias": _uniform((n_layers * 2 * width,), d_hidden, generator),
        }
        self.leaves: Mapping[str, Tensor] = {name: _leaf(tensor, device) for name, tensor in drawn.items()}
        with torch.no_grad():
            offset = start.to(device=device, dtype=torch.float32) - self._network()
        self.constants: Mapping[str, Tensor] = {"offset": offset}

    def tensors(self) -> dict[str, Tensor]:
        return {"prefix": self._network() + self.constants["offset"]}

    def _network(self) -> Tensor:
        """`[n_layers, 2, heads, n_virtual, d]`; the last linear layer's outputs are in the same order of layers and heads."""
        leaf = self.leaves
        hidden = torch.tanh(torch.addmm(leaf["in.bias"], leaf["embedding"], leaf["in.weight"].T))
        flat = torch.addmm(leaf["out.bias"], hidden, leaf["out.weight"].T)
        n_layers, _, n_heads, n_virtual, d_head = self._shape
        return flat.view(n_virtual, n_layers, 2, n_heads, d_head).permute(1, 2, 3, 0, 4)


def _after(tensor: Tensor, n: int, *, axis: int) -> Tensor:
    return tensor.narrow(axis, n, tensor.shape[axis] - n)


def _leaf(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.detach().to(device=device, dtype=torch.float32).clone().requires_grad_()


def _uniform(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    """Initialization of a linear layer in torch: U(−1/√fan_in, 1/√fan_in)."""
    return (torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(fan_in)
