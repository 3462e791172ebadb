"""The page of a study: its blocks between markers are generated, and the text around them is kept."""

import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from promptatlas.types import Report
from rich.console import Console

from demo.study.page.blocks import REPORT_BLOCKS
from demo.study.page.comparison import comparison, verdicts_of
from demo.study.page.figures import save_figures
from demo.study.page.study_blocks import STUDY_BLOCKS
from demo.study.plan import DOCS, StudyPlan
from demo.study.record import Record

BLOCK: Final = re.compile(r"(<!-- begin (\S+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
COMPARISON: Final = "comparison"
SHOWN_IN: Final[Mapping[str, str | None]] = {
    "finding-1": "displacement",
    "finding-2": "quality",
    "finding-3": "collapse",
    "finding-4": "trajectories",
    "finding-5": "tasks",
    "finding-7": "shape",
    "movement": "movement",
    "fits": "fits",
    "maps": None,
}
"""Block → the figure that it shows; the block of the maps shows all maps."""

DEMO_PAGE: Final = DOCS / "findings.md"


class WrongPage(ValueError):
    """The markers of the page differ from the expected ones."""


def block_names(plan: StudyPlan) -> list[str]:
    """Names of all blocks of a plan's page."""
    return [*REPORT_BLOCKS, *([COMPARISON, *STUDY_BLOCKS] if plan.budget_minutes is not None else [])]


def blocks_of(
    report: Report, *, record: Record, plan: StudyPlan, pictures: Collection[str] = frozenset()
) -> dict[str, str]:
    """The content of all blocks. The verdicts of the demo model are read from its page.

    pictures: names of the existing figures, which their blocks show.
    """
    found = {name: make(report) for name, make in REPORT_BLOCKS.items()}
    if plan.budget_minutes is not None:
        found[COMPARISON] = comparison(report, others=verdicts_of(DEMO_PAGE.read_text(encoding="utf-8")))
        found |= {name: make(record, plan) for name, make in STUDY_BLOCKS.items()}
    for name, shown in SHOWN_IN.items():
        for figure in (one for one in pictures if one == shown or (name == "maps" and one.startswith("map-"))):
            found[name] = f"{found[name].rstrip()}\n\n![{figure}](pictures/{plan.page.stem}/{figure}.png)"
    return found


def with_blocks(page: str, *, blocks: Mapping[str, str]) -> str:
    """The page with every block between ``<!-- begin x -->`` and ``<!-- end x -->`` replaced.

    Raises:
        WrongPage: a block is missing, duplicated or unknown.
    """
    names = re.findall(r"<!-- begin (\S+) -->", page)
    if sorted(names) != sorted(blocks) or len(BLOCK.findall(page)) != len(blocks):
        raise WrongPage(f"expected the blocks {', '.join(blocks)}, each once, got {', '.join(names) or 'none'}")
    return BLOCK.sub(lambda block: f"{block[1]}{blocks[block[2]].rstrip()}\n{block[3]}", page)


def publish(report: Report, *, record: Record, plan: StudyPlan, output: Path | None, console: Console) -> None:
    """Print the verdicts, and write the numbers to the plan's page, and its figures.

    output: folder with the pictures of the maps; None: nothing is written.
    """
    for finding in report.findings:
        console.print(f"{finding.number}. {finding.title}: [bold]{finding.verdict}[/]", highlight=False)
    if output is None:
        return
    pictures: list[Path] = []
    if plan.pictures is not None:
        pictures = save_figures(report, record=record, folder=plan.pictures)
        maps = [name for name, done in record.runs.items() if "n_points" in done.facts]
        pictures += [Path(shutil.copy(output / f"{name}.png", plan.pictures)) for name in maps]
    for path in pictures:
        console.print(f"Figure written to {path}")
    blocks = blocks_of(report, record=record, plan=plan, pictures=[path.stem for path in pictures])
    plan.page.write_text(with_blocks(plan.page.read_text(encoding="utf-8"), blocks=blocks), encoding="utf-8")
    console.print(f"Numbers written to {plan.page}")
