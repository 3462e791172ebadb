"""What happened in each scenario: injected faults, promises that were checked, and what was lost; and their table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

HEADER = ("fault", "times", "lost", "recovered after", "what was checked")


class Ledger:
    """The account of one scenario, over all its repetitions.

    Attributes:
        name: of the scenario. fault: in words.
        n_faults: number of injected faults. lost: what did not hold, in words. recovered_s: after each fault.
    """

    def __init__(self, name: str, *, fault: str) -> None:
        self.name = name
        self.fault = fault
        self.n_faults = 0
        self.lost: list[str] = []
        self.recovered_s: list[float] = []
        self._checked: Counter[str] = Counter()

    def injected(self, n: int = 1) -> None:
        """Count faults."""
        self.n_faults += n

    def recovered(self, seconds: float) -> None:
        """Record how long a recovery took."""
        self.recovered_s.append(seconds)

    def require(self, holds: bool, *, promise: str, otherwise: str) -> bool:
        """Check a promise; if it does not hold, ``otherwise`` is lost. Returns ``holds``."""
        self._checked[promise] += 1
        if not holds:
            self.lose(f"{promise}: {otherwise}")
        return holds

    def checked(self, promise: str, n: int = 1) -> None:
        """Count checks that were made elsewhere."""
        self._checked[promise] += n

    def lose(self, what: str) -> None:
        """Record a broken promise."""
        self.lost.append(what)
        print(f"  LOST in {self.name}: {what}", flush=True)

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        recovered = f"{max(self.recovered_s):.1f} s" if self.recovered_s else "–"
        checked = ", ".join(f"{promise} ({n:,})" for promise, n in self._checked.items())
        return (self.fault, f"{self.n_faults:,}", f"{len(self.lost)}", recovered, checked)


def table(ledgers: Sequence[Ledger]) -> str:
    """All rows as a Markdown table. The longest recovery of each fault is shown."""
    lines = [HEADER, ("---", "---:", "---:", "---:", "---"), *(ledger.cells() for ledger in ledgers if ledger.n_faults)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
