"""Checks the engine's shapes and types at run time. The hook must be in place before anything imports the engine."""

from __future__ import annotations

import ast
import sys
from types import ModuleType
from typing import Any

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep3119Exception
from jaxtyping import install_import_hook
from jaxtyping._import_hook import JaxtypingTransformer


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


_check_engine_types()
