"""``python -m tests.chaos [--only NAME]… [--seed N] [--minutes N] [--patience N] [--save]``: inject faults into the real service.

Each scenario runs once; while minutes are left, all of them run again, at other steps. The exit status is 1 if anything that
was promised did not hold. ``--save`` writes the table to ``docs/reliability.md``.
"""

from __future__ import annotations

import argparse
import random
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import transformers

from tests.chaos.lab import Lab
from tests.chaos.ledger import Ledger
from tests.chaos.report import report, save
from tests.chaos.scenarios.registry import SCENARIOS

AT_END = "end"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 if anything was lost."""
    arguments = _parse(argv)
    transformers.logging.disable_progress_bar()
    # Stopping the program stops its services, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = arguments.only or list(SCENARIOS)
    print(f"seed {arguments.seed}", flush=True)
    ledgers = {name: Ledger(name, fault=SCENARIOS[name].fault) for name in names}
    ledgers[AT_END] = Ledger(AT_END, fault="the end of the shared service")
    begin_s = time.monotonic()
    # Not in a longer folder: the path of a socket is limited to about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        lab = Lab(Path(folder), seed=arguments.seed, patience=arguments.patience)
        try:
            lab.prepare()
            for name in _turns(names, until_s=begin_s + 60 * arguments.minutes):
                _run(name, lab=lab, ledger=ledgers[name], seed=arguments.seed)
        except KeyboardInterrupt:
            ledgers[AT_END].lose("interrupted: not all scenarios have run")
        finally:
            ledgers[AT_END].injected()
            lab.close(ledgers[AT_END])
    seconds = time.monotonic() - begin_s
    found = report(list(ledgers.values()), seed=arguments.seed, seconds=seconds)
    print(f"\n{found}")
    n_lost = sum(len(ledger.lost) for ledger in ledgers.values())
    for ledger in ledgers.values():
        for what in ledger.lost:
            print(f"LOST in {ledger.name} (seed {arguments.seed}): {what}")
    if arguments.save:
        save(found)
    return 1 if n_lost else 0


def _run(name: str, *, lab: Lab, ledger: Ledger, seed: int) -> None:
    # A scenario draws the same steps whichever ran before it, so that --only and --seed repeat it.
    lab.rng = random.Random(f"{seed} {name} {ledger.n_faults}")
    print(f"{name}: {ledger.fault}", flush=True)
    begin_s = time.monotonic()
    try:
        SCENARIOS[name].run(lab, ledger)
    except Exception as error:
        ledger.lose(f"{type(error).__name__}: {error}")
    print(f"  {time.monotonic() - begin_s:.0f} s, {len(ledger.lost)} lost", flush=True)


def _turns(names: Sequence[str], *, until_s: float) -> Iterator[str]:
    """All scenarios once, and again while there is time."""
    yield from names
    while True:
        for name in names:
            if time.monotonic() >= until_s:
                return
            yield name


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), metavar="NAME", help=", ".join(SCENARIOS))
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(2**31), help="of the steps and victims; default: random"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="scenarios are repeated for as long; default 10")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of all time limits, for a busy machine")
    parser.add_argument("--save", action="store_true", help="write the table to docs/reliability.md")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
