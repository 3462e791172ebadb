"""The page of the experiment: its blocks between markers are generated, and the text around them is kept."""

from pathlib import Path
from typing import Final

from rich.console import Console

from demo.distillation.page.blocks import BLOCKS
from demo.distillation.page.picture import MAP, RESULTS, save_pictures
from demo.distillation.page.verdicts import verdict_rows
from demo.distillation.record import Record
from demo.study.page.page import with_blocks
from demo.study.plan import DOCS, PICTURES

PAGE: Final = DOCS / "distillation-experiment.md"
SHOWN_IN: Final = {"table": RESULTS, "priors": MAP}
"""Block → the picture below it."""


def blocks_of(record: Record) -> dict[str, str]:
    """The content of all blocks."""
    found = {name: make(record) for name, make in BLOCKS.items()}
    for block, picture in SHOWN_IN.items():
        if picture == RESULTS or record.spread:
            found[block] = f"{found[block].rstrip()}\n\n![{picture}](pictures/{PAGE.stem}/{picture}.png)"
    return found


def publish(record: Record, *, page: Path | None, console: Console) -> None:
    """Print the verdicts, and write numbers and pictures into the documentation. page: None: nothing is written."""
    for question, answer, numbers in verdict_rows(record):
        console.print(f"{question} [bold]{answer}[/]: {numbers}", highlight=False)
    if page is None:
        return
    for path in save_pictures(record, folder=PICTURES / PAGE.stem):
        console.print(f"Picture written to {path}")
    page.write_text(with_blocks(page.read_text(encoding="utf-8"), blocks=blocks_of(record)), encoding="utf-8")
    console.print(f"Numbers written to {page}")
