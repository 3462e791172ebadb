"""Make the environment of llama.cpp: ``python make_llama.py FOLDER``. It compiles for some minutes."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("llama.txt")
LIMIT_S = 3600
# Without a package source, pip gives up after seconds rather than minutes.
PIP_OPTIONS = ("--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15")


def make_environment(folder: Path) -> None:
    """Create ``folder`` and compile llama.cpp into it. Raises CalledProcessError or TimeoutExpired."""
    venv.create(folder, clear=True, with_pip=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", *PIP_OPTIONS, "--requirement", str(REQUIREMENTS)]
    subprocess.run(command, check=True, timeout=LIMIT_S)


if __name__ == "__main__":
    try:
        make_environment(Path(sys.argv[1]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"pip could not compile llama.cpp (status {error.returncode}); its messages are above")
    except subprocess.TimeoutExpired:
        sys.exit(f"llama.cpp was not compiled within {LIMIT_S} s")
