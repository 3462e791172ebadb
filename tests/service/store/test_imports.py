from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import service.store

MODULES = sorted(path.stem for path in Path(service.store.__path__[0]).glob("*.py") if path.stem != "__init__")


def test_the_store_needs_no_torch_and_nothing_above_it() -> None:
    imports = ", ".join(f"service.store.{name}" for name in MODULES)
    code = f"import sys, {imports}; print(*(name for name in sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert {f"service.store.{name}" for name in MODULES} <= loaded
    above = {
        "torch",
        "transformers",
        "litserve",
        "fastapi",
        "redis",
        "rq",
        "service.api",
        "service.hosting",
        "service.queueing",
        "service.engine",
    }
    assert not above & loaded
