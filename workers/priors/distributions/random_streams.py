"""Random numbers that depend on a seed and a purpose, and not on how many are drawn at once."""

from __future__ import annotations

import hashlib

import torch

from service.engine.shapes import Float, Int, Tensor


def generator_for(seed: int, purpose: str) -> torch.Generator:
    """The generator of one purpose under a seed. Generators of different purposes, such as layers, are independent."""
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def split(generator: torch.Generator, n: int) -> list[torch.Generator]:
    """``n`` independent generators, seeded by n numbers of ``generator``."""
    seeds = torch.randint(0, 2**63 - 1, (n,), generator=generator, dtype=torch.int64)
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def normal_rows(n: int, d: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
    """Standard normal numbers, float64.

    Drawn row by row: torch fills tensors of different lengths in different orders, so the first row would depend on n.
    """
    rows = torch.empty(n, d, dtype=torch.float64)
    for row in rows:
        row.copy_(torch.randn(d, generator=generator, dtype=torch.float64))
    return rows


def uniforms(n: int, *, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Uniform in [0, 1), float64."""
    return torch.rand(n, generator=generator, dtype=torch.float64)


def choices(n: int, *, below: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Uniform in 0 … below − 1, with replacement."""
    return torch.randint(0, below, (n,), generator=generator)
