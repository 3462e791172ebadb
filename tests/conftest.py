"""Checks the engine's shapes and types at run time. The hook must be in place before anything imports the engine."""

from __future__ import annotations

import sys
from types import ModuleType

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook


def _check_engine_types() -> None:
    imported = sorted(name for name in sys.modules if name.startswith("service.engine"))
    if imported:
        raise RuntimeError(f"imported before the shape checks were in place: {', '.join(imported)}")
    # The hook wants the checker as a dotted name. This one takes an int where a float is asked for, as mypy does.
    checker = ModuleType("engine_type_checker")
    checker.__dict__["checked"] = beartype(conf=BeartypeConf(is_pep484_tower=True))
    sys.modules[checker.__name__] = checker
    install_import_hook("service.engine", f"{checker.__name__}.checked")


_check_engine_types()
