"""The account of injected faults: what is lost is counted and shown. The faults are those of ``make chaos``."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.__main__ import _turns
from tests.chaos.ledger import Ledger, table
from tests.chaos.report import BEGIN, END, report, save


def one_ledger() -> Ledger:
    ledger = Ledger("kill-cat", fault="the cat is killed")
    ledger.injected(9)
    assert ledger.require(True, promise="it lives", otherwise="no")
    assert not ledger.require(False, promise="it lives", otherwise="the ninth time")
    ledger.checked("it purrs", 1200)
    for seconds in (0.25, 4.04, 1.0):
        ledger.recovered(seconds)
    return ledger


def test_a_row_has_what_was_lost_and_the_longest_recovery() -> None:
    ledger = one_ledger()
    assert ledger.lost == ["it lives: the ninth time"]
    row = "| the cat is killed | 9 | 1 | 4.0 s | it lives (2), it purrs (1,200) |"
    assert table([ledger, Ledger("unborn", fault="nothing yet")]).splitlines()[2:] == [row]


def test_a_report_says_how_much_was_lost_and_where() -> None:
    found = report([one_ledger()], seed=7, seconds=90.0)
    assert "seed 7: 9 faults in 2 minutes, 1 lost." in found
    assert "torch " in found


def test_only_the_table_of_the_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    save("| new |", page=page)
    save("| newer |", page=page)
    assert page.read_text() == f"before\n{BEGIN}\n| newer |\n{END}\nafter\n"


def test_all_scenarios_run_once_even_without_time() -> None:
    assert list(_turns(["a", "b"], until_s=0.0)) == ["a", "b"]
