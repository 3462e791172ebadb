"""Modules that the main and API processes import."""

from __future__ import annotations

import subprocess
import sys


def test_the_application_loads_no_torch() -> None:
    code = "import sys, service.app; print(*sorted({'torch', 'transformers'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
