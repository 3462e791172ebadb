"""Checks the engine's shapes and types at run time, and spreads the tests over processes.

The hook that checks the types must be in place before anything imports the engine.
"""

from __future__ import annotations

import ast
import os
import sys
from types import ModuleType
from typing import Any

import pytest
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep3119Exception
from jaxtyping import install_import_hook
from jaxtyping._import_hook import JaxtypingTransformer
from xdist.remote import Producer

from tests.spread import GroupScheduling, limit_threads, sort_by_length


def _checked(decorated: Any) -> Any:
    """beartype, but that an int passes for a float, and an argument of a plain Protocol for one, as in mypy."""
    try:
        return beartype(conf=BeartypeConf(is_pep484_tower=True))(decorated)
    except BeartypeDecorHintPep3119Exception:
        # Only a @runtime_checkable Protocol can be looked at; a function that takes another one stays unchecked.
        return decorated


def _leave_inner_functions_alone() -> None:
    """A function inside a function would be decorated anew, slowly, each time the outer one runs."""
    visit = JaxtypingTransformer.visit_FunctionDef

    def visit_without_body(self: Any, node: ast.FunctionDef) -> Any:
        body, node.body = node.body, []
        try:
            return visit(self, node)
        finally:
            node.body = body

    JaxtypingTransformer.visit_FunctionDef = visit_without_body


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Number of processes of ``--numprocesses auto``: one per core. The default counts physical cores where it can."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling | None:
    """Our groups for ``--dist loadgroup``."""
    return GroupScheduling(config, log) if config.option.dist == "loadgroup" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests, in processes of pytest-xdist only: without it, files run in the order of their names."""
    if hasattr(config, "workerinput"):
        sort_by_length(items)


def _check_engine_types() -> None:
    imported = sorted(name for name in sys.modules if name.startswith("service.engine"))
    if imported:
        raise RuntimeError(f"imported before the shape checks were in place: {', '.join(imported)}")
    # The hook wants the checker as a dotted name.
    checker = ModuleType("engine_annotations")
    checker.__dict__["checked"] = _checked
    sys.modules[checker.__name__] = checker
    _leave_inner_functions_alone()
    install_import_hook("service.engine", f"{checker.__name__}.checked")


limit_threads(os.environ)
_check_engine_types()
