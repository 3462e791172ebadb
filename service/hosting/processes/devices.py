"""Devices of engine processes and runs, decided before these processes start and without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""CUDA's own variable: the devices that a process sees, separated by commas."""

_ANY = frozenset({"auto", "cuda"})


def n_cuda_devices(environ: Mapping[str, str], *, root: Path = Path("/")) -> int:
    """Number of CUDA devices that a process with this environment sees: those it names, else those of the driver.

    Args:
        root: of the file system, for tests.
    """
    if (named := environ.get(VISIBLE)) is not None:
        return sum(bool(item.strip()) and item.strip() != "-1" for item in named.split(","))
    return len(list((root / "proc/driver/nvidia/gpus").glob("*")))


def engine_devices(n_engines: int, *, device: str, n_cuda: int) -> Sequence[int | None]:
    """The CUDA device of each engine: one after the other, and again from the first. None: the setting decides.

    Args:
        device: ``PROMPTATLAS_DEVICE``. A certain device is that of all engines.
    """
    if n_engines == 1 or device not in _ANY or n_cuda == 0:
        return [None] * n_engines
    return [number % n_cuda for number in range(n_engines)]
