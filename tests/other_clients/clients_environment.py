"""The environment of other projects' clients, and how programs run in it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-clients"
READY = FOLDER / ".ready"
SAE_FOLDER = ROOT / ".venv-sae"
SCRIPTS = Path(__file__).with_name("scripts")
PAGE = ROOT / "docs" / "clients.md"
LIMIT_S = 240

# No client may need the internet: what would leave this host goes to a closed port.
OFFLINE = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LANGSMITH_TRACING": "false",
}


@dataclass(frozen=True)
class Clients:
    """Runs programs in the environment against one service. folder: working directory, and home of caches and logs."""

    url: str
    key: str
    folder: Path

    def results_of(self, script: str, *, example: str) -> Any:
        """Results of a script by check; ``example``: name of its section on the page, whose Python block runs too."""
        copy, results = self.folder / f"{script}_example.py", self.folder / f"{script}.json"
        copy.write_text(self.filled_in(block_of(example, language="python")))
        command = [FOLDER / "bin" / "python", SCRIPTS / f"{script}.py", self.url, self.key, results, copy]
        self.run([str(word) for word in command])
        return json.loads(results.read_text())

    def filled_in(self, text: str) -> str:
        """A block of the page with the address and key of this service."""
        return text.replace("http://127.0.0.1:8000", self.url).replace('"none"', f'"{self.key}"')

    def run(self, command: list[str]) -> None:
        """Run a command to its end; a failure shows its output."""
        path = os.pathsep.join((str(FOLDER / "bin"), os.environ["PATH"]))
        home = {"HOME": str(self.folder), "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        done = subprocess.run(
            command, cwd=self.folder, env={**kept, **home, **OFFLINE}, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def block_of(section: str, *, language: str) -> str:
    """The first block in a language under a heading of the page."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    return text.split(f"```{language}\n")[1].split("```")[0]
