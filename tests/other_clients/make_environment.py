"""Make an environment of other projects' clients: ``python make_environment.py FOLDER [REQUIREMENTS]``.

The environment sees the packages of the interpreter that runs this script, so that torch and transformers are not downloaded
again. What the clients need in other versions is installed into the environment alone.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
LIMIT_S = 600
# Without a package source, pip gives up after seconds rather than minutes.
PIP_OPTIONS = ("--quiet", "--disable-pip-version-check", "--no-compile", "--retries", "1", "--timeout", "15")


def make_environment(folder: Path, *, requirements: Path) -> None:
    """Create ``folder`` and install the requirements. Raises CalledProcessError or TimeoutExpired."""
    # pip is among the shared packages.
    venv.create(folder, clear=True)
    python = folder / "bin" / "python"
    shown = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = subprocess.run(shown, check=True, capture_output=True, text=True).stdout.strip()
    shared = [path for path in sys.path if path.endswith("site-packages")]
    # After the environment's own folder on the path: there it comes second.
    Path(own, "shared.pth").write_text("\n".join(shared) + "\n")
    command = [str(python), "-m", "pip", "install", *PIP_OPTIONS, "--requirement", str(requirements)]
    subprocess.run(command, check=True, timeout=LIMIT_S)


if __name__ == "__main__":
    try:
        make_environment(Path(sys.argv[1]), requirements=REQUIREMENTS.with_name((*sys.argv, REQUIREMENTS.name)[2]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"pip could not install the clients (status {error.returncode}); its messages are above")
    except subprocess.TimeoutExpired:
        sys.exit(f"pip did not install the clients within {LIMIT_S} s")
