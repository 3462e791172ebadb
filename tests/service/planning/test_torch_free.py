from __future__ import annotations

import subprocess
import sys


def test_planning_loads_no_torch() -> None:
    program = "import sys, service.planning.run_kinds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
