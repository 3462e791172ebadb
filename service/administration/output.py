"""Output of the commands: lines for people, or one JSON object for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from service.administration.copies.destination import CopyReport
from service.administration.growth.collection import Removal
from service.administration.growth.retention import Expiry
from service.administration.integrity.fsck import Finding
from service.store.reindex import ReindexReport

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Output:
    """Prints results on stdout."""

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json

    def collected(self, expiries: Sequence[Expiry], removals: Sequence[Removal], *, is_dry_run: bool) -> None:
        """What ``gc`` has removed, or would remove."""
        n_bytes = sum(item.n_bytes for item in expiries) + sum(item.n_bytes for item in removals)
        if self._is_json:
            self._print_json(
                dry_run=is_dry_run,
                n_bytes=n_bytes,
                expired=[
                    {"run": item.run_id, "part": part.part, "path": part.path, "n_bytes": part.n_bytes}
                    for item in expiries
                    for part in item.parts
                ],
                removed=[{"reason": item.reason, "key": item.key, "n_bytes": item.n_bytes} for item in removals],
            )
            return
        for expiry in expiries:
            for part in expiry.parts:
                what = part.part if part.path is None else f"{part.part} {part.path}"
                print(f"expired  {size(part.n_bytes):>10}  {what} of run {expiry.run_id}")
        for removal in removals:
            print(f"garbage  {size(removal.n_bytes):>10}  {removal.reason}: {removal.key}")
        n = sum(len(expiry.parts) for expiry in expiries) + len(removals)
        print(f"{'would remove' if is_dry_run else 'removed'} {n} objects, {size(n_bytes)}")

    def findings(self, findings: Iterable[Finding], *, n_files: Callable[[], int]) -> bool:
        """What ``fsck`` finds, as it is found; returns whether nothing is left to do. n_files: in the store."""
        listed: list[dict[str, Any]] = []
        n_open = 0
        for finding in findings:
            n_open += not finding.is_cured
            problem = finding.problem
            listed.append(
                {
                    "key": problem.key,
                    "what": problem.what,
                    "advice": problem.advice,
                    "repaired": finding.repaired,
                    "cured": finding.is_cured,
                }
            )
            if not self._is_json:
                done = "" if finding.repaired is None else f"{finding.repaired}; "
                print(f"{problem.what} [{problem.key}] {done}{'' if finding.is_cured else problem.advice}".rstrip("; "))
        if self._is_json:
            self._print_json(n_files=n_files(), problems=listed, n_open=n_open)
        else:
            print(f"checked {n_files()} files: {len(listed)} problems, {n_open} left")
        return n_open == 0

    def reindexed(self, report: ReindexReport) -> None:
        """What ``reindex`` has found and repaired."""
        if self._is_json:
            self._print_json(**asdict(report))
            return
        print(
            f"indexed {report.n_entries} names and runs: {report.n_missing} were missing, {report.n_changed} had changed, "
            f"{report.n_extra} no longer exist"
        )

    def copied(self, report: CopyReport) -> None:
        """What ``backup`` or ``restore`` has done."""
        if self._is_json:
            self._print_json(**asdict(report))
            return
        for problem in report.problems:
            print(f"not copied: {problem}")
        print(
            f"copied {report.n_copied} files, {size(report.n_bytes)}; {report.n_unchanged} unchanged, "
            f"{report.n_removed} removed, {len(report.problems)} problems"
        )

    def _print_json(self, **fields: object) -> None:
        print(json.dumps(fields, indent=2))


def size(n_bytes: int) -> str:
    """A number of bytes for people: ``3.2 MiB``."""
    value, place = float(n_bytes), 0
    while value >= 1024 and place < len(_UNITS) - 1:
        value, place = value / 1024, place + 1
    return f"{value:.0f} B" if place == 0 else f"{value:.1f} {_UNITS[place]}"
