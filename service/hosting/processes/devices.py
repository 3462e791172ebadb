"""Devices of engine processes and runs, decided before these processes start and without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""CUDA's own variable: the devices that a process sees, separated by commas."""

_ANY = frozenset({"auto", "cuda"})


def cuda_devices(environ: Mapping[str, str], *, root: Path = Path("/")) -> Sequence[str]:
    """Names of the CUDA devices that a process with this environment sees: those it names, else those of the driver.

    Args:
        root: of the file system, for tests.
    """
    if (named := environ.get(VISIBLE)) is not None:
        return [item.strip() for item in named.split(",") if item.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate((root / "proc/driver/nvidia/gpus").glob("*"))]


def engine_devices(n_engines: int, *, device: str, n_cuda: int) -> Sequence[int | None]:
    """The CUDA device of each engine: one after the other, and again from the first. None: the setting decides.

    Args:
        device: ``PROMPTATLAS_DEVICE``. A certain device is that of all engines.
    """
    if n_engines == 1 or device not in _ANY or n_cuda == 0:
        return [None] * n_engines
    return [number % n_cuda for number in range(n_engines)]


def worker_devices(
    n_workers: int,
    *,
    chosen: Sequence[str],
    device: str,
    visible: Sequence[str],
    n_engines: int,
    is_spread: bool = False,
) -> Sequence[str | None]:
    """What each worker's runs see as :data:`VISIBLE`; None: all devices.

    Args:
        chosen: ``PROMPTATLAS_WORKER_DEVICES``; empty: the devices that no engine has, or all if engines have all.
        device: ``PROMPTATLAS_DEVICE``.
        visible: devices of this host.
        n_engines: engines on this host, or ranks of one of them, which have the first devices.
        is_spread: a run's model is placed over several devices, so that each worker needs all of those that are left.
    """
    if not chosen and (device not in _ANY or len(visible) < 2):
        return [None] * n_workers
    if is_spread:
        return [",".join(chosen or visible[n_engines:]) or None] * n_workers
    devices = chosen or visible[n_engines:] or visible
    return [devices[number % len(devices)] for number in range(n_workers)]
