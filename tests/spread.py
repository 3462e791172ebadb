"""How pytest-xdist spreads the tests over processes: each group runs in one process, one test after another.

A group is a file, whose fixtures are made once, a folder whose files share fixtures, or all tests that start services.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ROOT: Final = Path(__file__).parents[1]
TESTS: Final = ROOT / "tests"

SERVICES: Final = "services"
"""The group of all tests that start services, workers or browsers: each of these keeps all cores busy, and has deadlines."""

SERVICE_TESTS: Final = (
    "clients/web",
    "integration",
    "other_clients",
    "deploy/test_manifest_processes.py",
    "deploy/test_rolling_restart.py",
    "examples/test_notebooks.py",
    "chaos/test_faulty_disk.py",
    "demo/distillation/test_distill.py",
    "demo/test_run.py",
    "demo/test_run_real.py",
    "benchmarks",
    "service/administration/test_commands.py",
    "service/engine/parallel",
    "service/hosting/processes",
    "service/queueing/test_embedded_redis.py",
    "workers/running",
)
"""Folders and files of the group, below ``tests``."""

IN_PROCESS: Final = ("integration/test_generated_requests.py",)
"""Files in these folders that start no other process."""

TOGETHER: Final = ("service/engine/real",)
"""Folders whose files share fixtures that take long to make, and therefore a process."""

LONG: Final = (
    *TOGETHER,
    *IN_PROCESS,
    "workers/tuning",
    "service/engine",
    "workers",
    "demo",
)
"""Folders whose files start first, after the group of the services."""

_POOLS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


def limit_threads(environ: MutableMapping[str, str]) -> None:
    """One thread for each library, in a process of pytest-xdist and its children; before torch and numpy are loaded."""
    if "PYTEST_XDIST_WORKER" in environ:
        for name in _POOLS:
            environ.setdefault(name, "1")


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Hands out groups in the order of their first tests. The process that becomes free first gets the next group.

    The scheduler of ``--dist loadgroup`` reads groups from ids of tests, which pytest 9.2 does not let plugins change.
    """

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        # Not by number of tests: a test of the services takes longer than hundreds of others.
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return group_of(Path(nodeid.partition("::")[0]))


def sort_by_length(items: list[pytest.Item]) -> None:
    """Sort tests by group, and groups by expected length, the longest first."""
    groups = [group_of(item.path) for item in items]
    sizes = Counter(groups)
    ranks = {group: (_rank(group), -sizes[group], group) for group in sizes}
    order = sorted(range(len(items)), key=lambda i: ranks[groups[i]])
    items[:] = [items[i] for i in order]


def group_of(file: Path) -> str:
    """The group of a test's file: that of the services, its folder, or its own. Relative paths start at the repository's root."""
    name = (ROOT / file).relative_to(TESTS).as_posix()
    if name not in IN_PROCESS and any(_is_in(name, other) for other in SERVICE_TESTS):
        return SERVICES
    return next((folder for folder in TOGETHER if _is_in(name, folder)), name)


def _rank(group: str) -> int:
    if group == SERVICES:
        return 0
    return next((i for i, folder in enumerate(LONG, 1) if _is_in(group, folder)), len(LONG) + 1)


def _is_in(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")
