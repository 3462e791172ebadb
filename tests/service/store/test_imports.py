from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import service.store

FOLDER = Path(service.store.__path__[0])
MODULES = sorted(
    ".".join(("service.store", *path.relative_to(FOLDER).with_suffix("").parts))
    for path in FOLDER.rglob("*.py")
    if path.stem != "__init__"
)


def test_the_store_needs_no_torch_and_nothing_above_it() -> None:
    imports = ", ".join(MODULES)
    code = f"import sys, {imports}; print(*(name for name in sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert set(MODULES) <= loaded
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
