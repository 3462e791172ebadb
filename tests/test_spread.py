"""Tests of the groups of tests that share a process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from xdist.workermanage import WorkerController

from tests.spread import (
    IN_PROCESS,
    LONG,
    SERVICE_TESTS,
    SERVICES,
    TESTS,
    TOGETHER,
    GroupScheduling,
    group_of,
    limit_threads,
    sort_by_length,
)

FOUR = ("clients/web/test_runs.py", "workers/tuning/test_run.py", "docs/test_docs.py", "integration/test_keys.py")
"""Files of three groups: the first and the last one start services."""

FILES = sorted(TESTS.rglob("test_*.py"))


@pytest.mark.parametrize("name", [*SERVICE_TESTS, *LONG])
def test_named_folders_and_files_exist(name: str) -> None:
    assert (TESTS / name).exists()


def test_files_that_start_services_are_in_their_group() -> None:
    starting = [file for file in FILES if "running_service(" in file.read_text() and file != Path(__file__)]
    assert len(starting) > 5
    assert not {TESTS / name for name in IN_PROCESS} & set(starting)
    assert {group_of(file) for file in starting} == {SERVICES}


def test_every_other_file_is_a_group() -> None:
    file = TESTS / "service" / "test_settings.py"
    assert group_of(file) == "service/test_settings.py"
    names = [group_of(file) for file in FILES]
    others = [name for name in names if name != SERVICES and name not in TOGETHER]
    assert len(set(others)) == len(others)
    assert {group_of(file) for file in (TESTS / "service" / "engine" / "real").glob("test_*.py")} == {TOGETHER[0]}


def test_services_are_first_and_groups_stay_together(request: pytest.FixtureRequest) -> None:
    files = [TESTS / name for name in (*FOUR, "docs/test_site.py")]
    items: list[pytest.Item] = [
        Case.from_parent(request.session, name=f"test_{i}", path=file) for i in range(3) for file in files
    ]
    del items[-1]  # so that one file has fewer tests
    sort_by_length(items)
    web, tuning, docs, integration, site = files
    services = [web, integration]
    assert [item.path for item in items] == [*services * 3, *[tuning] * 3, *[docs] * 3, *[site] * 2]
    assert [item.name for item in items[:6:2]] == ["test_0", "test_1", "test_2"]


class Case(pytest.Item):
    """A test without a body."""

    def runtest(self) -> None: ...


@dataclass(eq=False)
class Process:
    """Where the scheduler sends tests."""

    gateway: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(id="process"))
    received: list[int] = field(default_factory=list)
    shutting_down: bool = False

    def send_runtest_some(self, indices: list[int]) -> None:
        self.received += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_a_group_runs_in_one_process_and_the_next_goes_to_the_one_that_is_free() -> None:
    web, tuning, docs, integration = (f"tests/{name}::test" for name in FOUR)
    tests = [f"{web}[{i}]" for i in range(9)] + [f"{integration}[{i}]" for i in range(2)]
    tests += [f"{docs}[{i}]" for i in range(4)] + [f"{tuning}[{i}]" for i in range(20)]
    options = SimpleNamespace(loadscopereorder=True)
    config = SimpleNamespace(option=options, getvalue={"tx": ["2*popen"]}.get)
    scheduling = GroupScheduling(cast(pytest.Config, config))
    first, second = Process(), Process()
    nodes = [cast(WorkerController, process) for process in (first, second)]
    for node in nodes:
        scheduling.add_node(node)
        scheduling.add_node_collection(node, tests)
    scheduling.schedule()
    assert (first.received, second.received) == (list(range(11)), list(range(11, 15)))
    for index in range(11, 14):
        scheduling.mark_test_complete(nodes[1], index)
    assert (first.received, second.received) == (list(range(11)), list(range(11, 35)))


def test_one_process_keeps_its_threads() -> None:
    alone = {"HOME": "/"}
    limit_threads(alone)
    assert alone == {"HOME": "/"}


def test_several_processes_have_one_thread_each() -> None:
    environ = {"PYTEST_XDIST_WORKER": "gw0", "MKL_NUM_THREADS": "4"}
    limit_threads(environ)
    assert environ["MKL_NUM_THREADS"] == "4"
    assert {environ[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "RAYON")} == {"1"}
