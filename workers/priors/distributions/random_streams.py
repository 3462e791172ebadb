"""Random numbers that depend on a seed and a purpose, never on how many are asked for at once."""

from __future__ import annotations

import hashlib

import torch

from service.engine.shapes import Float, Int, Tensor


def generator_for(seed: int, purpose: str) -> torch.Generator:
    """The generator of one purpose under a seed: another purpose beside it, such as one more layer, changes nothing."""
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def split(generator: torch.Generator, n: int) -> list[torch.Generator]:
    """``n`` generators of their own, from n numbers of ``generator``."""
    seeds = torch.randint(0, 2**63 - 1, (n,), generator=generator, dtype=torch.int64)
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def normal_rows(n: int, d: int, *, generator: torch.Generator) -> Float[Tensor, "n d"]:
    """Standard normal numbers, float64.

    Row by row: torch fills a tensor of another length in another order, which would let n decide the first row.
    """
    rows = torch.empty(n, d, dtype=torch.float64)
    for row in rows:
        row.copy_(torch.randn(d, generator=generator, dtype=torch.float64))
    return rows


def uniforms(n: int, *, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Even in [0, 1), float64."""
    return torch.rand(n, generator=generator, dtype=torch.float64)


def choices(n: int, *, below: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Even in 0 … below − 1, with replacement."""
    return torch.randint(0, below, (n,), generator=generator)
