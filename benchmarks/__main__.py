"""``python -m benchmarks [names…] [--quick] [--json FILE]``: run benchmarks and print their results.

A full run writes ``benchmarks/results/{name}.json`` and the generated part of ``docs/benchmarks.md``; a quick one (small
sizes, two rounds) only checks that everything runs, and writes nothing but ``--json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.contests.smollm2.data import VARIABLE
from benchmarks.measuring.contest import Unavailable, hold
from benchmarks.measuring.machine import describe, n_cores
from benchmarks.measuring.report import goal_table, load_all, record_of, save, write_page
from benchmarks.registry import BENCHMARKS
from demo.browser import find_chromium

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "benchmarks.md"
QUICK_ROUNDS, FULL_ROUNDS = 2, 7


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 if a side gave wrong results."""
    arguments = _parse(argv)
    if arguments.data is not None:
        os.environ[VARIABLE] = str(arguments.data)
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    names = arguments.names or list(BENCHMARKS)
    if not arguments.http:
        names = [name for name in names if not BENCHMARKS[name].needs_http]
    if find_chromium() is None and not arguments.names:
        names = [name for name in names if not BENCHMARKS[name].needs_browser]
    records = [record for name in names if (record := _run_or_skip(name, arguments)) is not None]
    if not arguments.quick:
        write_page(PAGE, load_all(RESULTS, order=list(BENCHMARKS)))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    print("\n".join(goal_table(records)))
    return 0 if all(record["is_right"] for record in records) else 1


def _run_or_skip(name: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    try:
        return _run(name, arguments)
    except Unavailable as reason:
        print(f"{name}: skipped: {reason}.", flush=True)
        return None


def _run(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    benchmark = BENCHMARKS[name]
    print(f"{name}: preparing", flush=True)
    with (benchmark.quick if arguments.quick else benchmark.full)(http=arguments.http) as contest:
        print(f"{name}: {contest.work}", flush=True)
        result = hold(contest, n_rounds=arguments.rounds, say=lambda line: print(line, flush=True))
    record = record_of(result, describe(n_threads=arguments.threads))
    if not arguments.quick:
        # Saved at once, so that a later failure does not lose this result.
        save(record, RESULTS)
    return record


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"default: all of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds; results are not saved")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results of this run to FILE")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default {FULL_ROUNDS}, or {QUICK_ROUNDS} when quick")
    parser.add_argument("--threads", type=int, default=n_cores(), metavar="N", help="torch threads; default: all cores")
    parser.add_argument("--no-http", dest="http", action="store_false", help="skip everything that runs over HTTP")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help=f"folder of real data; default: {VARIABLE} or ../shared/data"
    )
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {unknown[0]!r}: expected some of {', '.join(BENCHMARKS)}")
    arguments.rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else FULL_ROUNDS)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
