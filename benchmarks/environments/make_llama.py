"""Make the environment of llama.cpp: ``python make_llama.py FOLDER``. It compiles for some minutes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("llama.txt")
LIMIT_S = 3600
# Without a package source, pip gives up after seconds rather than minutes.
PIP_OPTIONS = ("--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15")
# Virtual machines announce AMX and may not permit its tiles: llama.cpp, which uses them for batches, then ends with SIGILL.
NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"


def make_environment(folder: Path) -> None:
    """Create ``folder`` and compile llama.cpp into it. Raises CalledProcessError or TimeoutExpired."""
    venv.create(folder, clear=True, with_pip=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", *PIP_OPTIONS, "--requirement", str(REQUIREMENTS)]
    flags = {"CFLAGS": NO_AMX, "CXXFLAGS": NO_AMX} if platform.machine() == "x86_64" else {}
    # Without pip's cache, which may have a build with other flags.
    subprocess.run([*command, "--no-cache-dir"], check=True, timeout=LIMIT_S, env={**os.environ, **flags})


if __name__ == "__main__":
    try:
        make_environment(Path(sys.argv[1]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"pip could not compile llama.cpp (status {error.returncode}); its messages are above")
    except subprocess.TimeoutExpired:
        sys.exit(f"llama.cpp was not compiled within {LIMIT_S} s")
