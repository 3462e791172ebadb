"""Machine and library versions of a result."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "transformers", "peft", "nnsight", "litserve", "uvicorn", "starlette")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Hardware, threads and versions."""

    cpu: str
    n_cores: int
    n_threads: int
    memory_bytes: int
    python: str
    versions: dict[str, str]
    date: str


def n_cores() -> int:
    """Number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(*, n_threads: int, packages: Sequence[str] = PACKAGES) -> Machine:
    """The current machine."""
    return Machine(
        cpu=_cpu_model(),
        n_cores=n_cores(),
        n_threads=n_threads,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
        versions={name: found for name in packages if (found := _version(name)) is not None},
        date=datetime.now(timezone.utc).date().isoformat(),
    )


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
