"""Posteriors that are stored as a normal distribution: a mean and low-rank factors. It uses numpy only.

A prompt with the tensors ``X`` has here, in float32:

- ``mean.X``, with the shape of X;
- ``std.X`` `[1]`: the standard deviation in directions that the data do not determine, positive;
- ``directions.X`` `[rank, *shape of X]`: rows that are orthonormal over all tensors together, after division by ``std``;
- ``curvatures`` `[rank]`: s ≥ 0 of the directions, in units of the prior's precision.

A draw is mean + std (I − U diag(1 − (1 + s)^(−1/2)) Uᵀ) z with z ~ N(0, I); its covariance is std² (I + U diag(s) Uᵀ)⁻¹.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidRequest
from service.store.prompts.checks import Floats, as_float32

MEAN, STD, DIRECTIONS, CURVATURES = "mean.", "std.", "directions.", "curvatures"

Doubles = npt.NDArray[np.float64]


def check_normal(tensors: Mapping[str, npt.NDArray[Any]]) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Check that a mean and factors belong together.

    Returns:
        the mean by the names of a prompt, and all tensors, float32 and sorted by name.

    Raises:
        InvalidRequest: tensors are missing or of other shapes, or their values are invalid.
    """
    shapes = {name.removeprefix(MEAN): values.shape for name, values in tensors.items() if name.startswith(MEAN)}
    rank = len(tensors[CURVATURES]) if CURVATURES in tensors and tensors[CURVATURES].ndim == 1 else 0
    expected = {CURVATURES: (rank,)}
    for name, shape in shapes.items():
        expected |= {MEAN + name: shape, STD + name: (1,), DIRECTIONS + name: (rank, *shape)}
    found = {name: values.shape for name, values in tensors.items()}
    if not shapes or rank == 0 or found != expected:
        wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise InvalidRequest(
            f"A normal posterior has {MEAN}X, {STD}X [1] and {DIRECTIONS}X [rank, …] of each tensor X of a prompt, and "
            f"{CURVATURES} [rank]; wrong or missing here: {', '.join(repr(name[:80]) for name in wrong[:4]) or 'all'}."
        )
    checked = {name: as_float32(tensors[name], name=name) for name in sorted(tensors)}
    for name, values in checked.items():
        if (name.startswith(STD) and values.min() <= 0) or (name == CURVATURES and values.min() < 0):
            raise InvalidRequest(f"Tensor {name!r} must hold positive values; its smallest is {values.min():g}.")
    return {name: checked[MEAN + name] for name in shapes}, checked


def drawn(tensors: Mapping[str, Floats], *, seed: int, index: int) -> dict[str, Floats]:
    """Draw number ``index`` from a checked normal posterior, as the tensors of a prompt; any index from 0 has one."""
    names = sorted(name.removeprefix(MEAN) for name in tensors if name.startswith(MEAN))
    sizes = [tensors[MEAN + name].size for name in names]
    z = normal_numbers(sum(sizes), seed=seed, index=index)
    curvatures = tensors[CURVATURES].astype(np.float64)
    rank = len(curvatures)
    directions = np.concatenate(
        [tensors[DIRECTIONS + name].reshape(rank, -1).astype(np.float64) for name in names], axis=1
    )
    z -= ((directions @ z) * (1 - 1 / np.sqrt(1 + curvatures))) @ directions
    found = {}
    for name, part in zip(names, np.split(z, np.cumsum(sizes)[:-1]), strict=True):
        mean, std = tensors[MEAN + name], float(tensors[STD + name][0])
        found[name] = (mean + std * part.reshape(mean.shape)).astype(np.float32)
    return found


def normal_numbers(n: int, *, seed: int, index: int) -> Doubles:
    """``n`` independent standard normal numbers, the same in every version of NumPy (Box and Muller 1958).

    The raw numbers of a bit generator are stable, those of ``standard_normal`` are not guaranteed to be (NEP 19).
    """
    digest = hashlib.blake2b(f"normal/{seed}/{index}".encode(), digest_size=16).digest()
    raw = np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(2 * -(-n // 2))
    # In (0, 1): the middle of 2^52 intervals, so that the logarithm is finite.
    uniform = ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    radius, angle = np.sqrt(-2 * np.log(uniform[::2])), 2 * np.pi * uniform[1::2]
    found: Doubles = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n]
    return found
