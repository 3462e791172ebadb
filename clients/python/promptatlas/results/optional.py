"""Import of optional packages."""

from __future__ import annotations

import importlib
from typing import Any


def import_optional(module: str, *, extra: str) -> Any:
    """A module of an optional package. Raises ImportError, which names the extra that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f"expected {package} to be installed: pip install 'promptatlas[{extra}]'") from error
