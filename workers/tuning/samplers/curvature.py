"""Estimates of the Hessian's diagonal of members, for the term Γ of pSGLD."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch

from service.engine.shapes import Tensor
from workers.tuning.samplers.langevin import LangevinOptimizer

RELATIVE_STEP = 1e-2
"""Step of the differences, relative to the root mean square of a leaf, or to 1 / √n of a shorter one with n values."""


def estimate_curvatures(chains: Sequence[LangevinOptimizer], *, gather: Callable[[], object], step: int) -> None:
    """Set the ``curvature`` of each chain to z∘Hz, with z of independent signs, whose mean is the diagonal of H (Hutchinson).

    Hz is a central difference of gradients, exact for quadratic losses. Leaves and their gradients are as before afterwards.

    Args:
        gather: computes the gradients of all leaves at their current values. step: number of the update; the signs follow
            from it, the seed of the chain and the name of the leaf.
    """
    leaves = [chain.leaves for chain in chains]
    kept = [{name: leaf.detach().clone() for name, leaf in own.items()} for own in leaves]
    gradients = [_gradients(own) for own in leaves]
    signs = [
        {name: _signs(leaf, key=f"curvature/{chain.seed}/{step}/{name}") for name, leaf in chain.leaves.items()}
        for chain in chains
    ]
    found = []
    for side in (1.0, -1.0):
        for own, start, z in zip(leaves, kept, signs, strict=True):
            _move(own, {name: start[name] + side * _size(start[name]) * z[name] for name in own})
        gather()
        found.append([_gradients(own) for own in leaves])
    for i, chain in enumerate(chains):
        _move(leaves[i], kept[i])
        for name, leaf in leaves[i].items():
            leaf.grad = gradients[i][name]
        chain.curvature = {
            name: signs[i][name] * (found[0][i][name] - found[1][i][name]) / (2 * _size(kept[i][name]))
            for name in leaves[i]
        }


@torch.no_grad()
def _move(leaves: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, leaf in leaves.items():
        leaf.copy_(values[name])


def _gradients(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad.clone() for name, leaf in leaves.items()}


def _size(leaf: Tensor) -> Tensor:
    size: Tensor = RELATIVE_STEP * leaf.norm().clamp_min(1.0) / leaf.numel() ** 0.5
    return size


def _signs(leaf: Tensor, *, key: str) -> Tensor:
    digest = hashlib.blake2b(key.encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
    return (2 * torch.randint(0, 2, leaf.shape, generator=generator) - 1).to(leaf)
