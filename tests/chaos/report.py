"""The table, as printed and as kept in ``docs/reliability.md``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring.machine import describe
from tests.chaos.ledger import Ledger, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- begin of the table of make chaos -->", "<!-- end of the table of make chaos -->"
PACKAGES = ("torch", "transformers", "litserve", "rq", "redis", "uvicorn")


def report(ledgers: Sequence[Ledger], *, seed: int, seconds: float) -> str:
    """The table, with its date, seed, versions and machine."""
    machine = describe(n_threads=1, packages=PACKAGES)
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    n_faults, n_lost = sum(one.n_faults for one in ledgers), sum(len(one.lost) for one in ledgers)
    return (
        f"{machine.date}, seed {seed}: {n_faults:,} faults in {seconds / 60:.0f} minutes, {n_lost} lost. "
        f"{machine.n_cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {machine.cpu}; "
        f"Python {machine.python}, {versions}.\n\n{table(ledgers)}"
    )


def save(found: str, *, page: Path = PAGE) -> None:
    """Replace the table of the page."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{found}\n{END}{rest.split(END)[1]}", encoding="utf-8")
