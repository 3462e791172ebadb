"""Generated parts of the README: `python -m demo.readme` runs its tour and the demo, and updates outputs, table and picture.

A test runs the same blocks and compares their output with the page.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from rich.console import Console

from demo.run import run as run_demo
from demo.tour.server import running_service
from demo.tour.tour import Size
from demo.tour.tours.demo_model import demo_tour

ROOT: Final = Path(__file__).resolve().parents[1]
URL: Final = "http://127.0.0.1:8000"
STEP_WITHIN_S: Final = 500
TOUR: Final = re.compile(r"(?<=## Five minutes\n).*?(?=\n## )", re.DOTALL)
TABLE: Final = re.compile(r"^\| prior \| seed \|.*\n(?:\|.*\n)+", re.MULTILINE)
STEP: Final = re.compile(r"^```(bash|python)\n(.*?)^```\n```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A code block of the tour, and its output on the page."""

    language: Literal["bash", "python"]
    text: str
    printed: str


def tour_of(page: str) -> list[Step]:
    """The steps of a page's tour, in order."""
    tour = TOUR.search(page)
    if tour is None:
        raise LookupError("expected a section 'Five minutes' followed by another section")
    return [Step(cast(Literal["bash", "python"], language), text, out) for language, text, out in STEP.findall(tour[0])]


def run_tour(steps: Sequence[Step]) -> Iterator[str]:
    """The actual output of each step, on a new service with an empty store."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The page uses .venv/bin, which is a link to the current environment.
        (folder / ".venv").symlink_to(sys.prefix)
        with running_service({"PROMPTATLAS_HOME": str(folder / "store")}, log=folder / "log") as url:
            for step in steps:
                yield _run(step, url=url, folder=folder)


def _run(step: Step, *, url: str, folder: Path) -> str:
    text = step.text.replace(URL, url)
    command = [sys.executable, "-c", text] if step.language == "python" else ["bash", "-ec", text]
    environ = {**os.environ, "PROMPTATLAS_URL": url}
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=STEP_WITHIN_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"a step of the tour failed with status {done.returncode}:\n{step.text}\n{done.stderr}")
    return "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines()) + "\n"


def with_outputs(page: str, *, outputs: Sequence[str]) -> str:
    """The page with new outputs, one per step."""
    remaining = iter(outputs)

    def replace(step: re.Match[str]) -> str:
        return f"```{step[1]}\n{step[2]}```\n```\n{next(remaining)}```"

    return TOUR.sub(lambda tour: STEP.sub(replace, tour[0]), page)


def with_table(page: str, *, report: str) -> str:
    """The page with its table replaced by the first table of a demo report."""
    found, current = TABLE.search(report), TABLE.search(page)
    if found is None or current is None:
        raise LookupError("expected a table that begins with 'prior' and 'seed' in the report and on the page")
    return page[: current.start()] + found[0] + page[current.end() :]


def main() -> None:
    """Rewrite README.md and docs/pictures/demo.png."""
    path = ROOT / "README.md"
    page = path.read_text(encoding="utf-8")
    page = with_outputs(page, outputs=list(run_tour(tour_of(page))))
    with tempfile.TemporaryDirectory() as name:
        output = Path(name)
        run_demo(demo_tour(Size()), output=output, console=Console())
        page = with_table(page, report=(output / "report.md").read_text(encoding="utf-8"))
        shutil.copy(output / "picture.png", ROOT / "docs" / "pictures" / "demo.png")
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
