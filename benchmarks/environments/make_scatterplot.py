"""Fetch regl-scatterplot and what it needs from the package index of npm: ``python make_scatterplot.py FOLDER``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

PACKAGES: Final = {
    "regl-scatterplot@1.16.0": "package/dist/regl-scatterplot.esm.js",
    "regl@2.1.1": "package/dist/regl.min.js",
    "pub-sub-es@3.0.0": "package/dist/index.js",
}
"""Package and its file, which is stored by the name of the package."""

LIMIT_S: Final = 120


def fetch(folder: Path) -> None:
    """Store the files of all packages in ``folder``. Raises CalledProcessError, TimeoutExpired or OSError."""
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("expected npm on the PATH, found none")
    folder.mkdir(parents=True, exist_ok=True)
    for package, member in PACKAGES.items():
        with tempfile.TemporaryDirectory() as work:
            command = [npm, "pack", package, "--json", "--fetch-retries=1", "--fetch-timeout=15000"]
            answer = subprocess.run(command, cwd=work, check=True, timeout=LIMIT_S, capture_output=True, text=True)
            with tarfile.open(Path(work) / json.loads(answer.stdout)[0]["filename"]) as archive:
                source = archive.extractfile(member)
                assert source is not None, member
                (folder / f"{package.partition('@')[0]}.js").write_bytes(source.read())


if __name__ == "__main__":
    try:
        fetch(Path(sys.argv[1]))
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"regl-scatterplot was not fetched: {error}")
