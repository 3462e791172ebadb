"""`make findings`: the paper's findings (arXiv 2412.18582), measured anew on the demo model from nothing.

Starts a service with an empty store and two workers, tunes some hundred prompts under many priors, seeds and rates,
makes one report of all of them, and writes what came out into docs/findings.md. Long: 400 steps for each.
"""

import argparse
import contextlib
import hashlib
import json
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from promptatlas import Client, PromptAtlasError, Run, TimedOutError
from promptatlas.types import Report
from rich.console import Console

from demo.study.page import with_findings
from demo.study.plan import FULL, TINY, Size, Spec, report_spec, tunings
from demo.study.tables import write_tables
from demo.tour.server import ServiceDidNotStart, running_service

MODEL: Final = "demo"
INTERRUPTED: Final = 130
ASK_AGAIN_S: Final = 60.0
PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "findings.md"


@dataclass(frozen=True)
class Study:
    """One go through the study on a running service; runs that an earlier go has begun are gone on with."""

    client: Client
    size: Size
    console: Console

    def prompts(self) -> list[str]:
        """Tunes everything; references of all prompts."""
        begun = [self._tune(one.spec, name=one.name) for one in tunings(model=MODEL, size=self.size)]
        return [ref for run in begun for ref in self._finished(run).prompts]

    def report(self, prompts: list[str]) -> Run:
        """Makes the report; always anew, since what it measures may be measured otherwise by now."""
        spec = report_spec(model=MODEL, prompts=prompts, size=self.size)
        return self._finished(self.client.runs.create("report", spec, name="findings"))

    def _tune(self, spec: Spec, *, name: str) -> Run:
        label = f"{name} {_digest(spec)}"
        for run in self.client.runs.list(kind="tune"):
            if run.name == label:
                self.console.print(f"{label}: goes on from before, {run.id}, {run.status}")
                return run.resume() if run.status in ("failed", "cancelled") else run
        return self.client.runs.create("tune", spec, name=label)

    def _finished(self, run: Run) -> Run:
        begin_s = time.monotonic()
        while not run.ended:
            # A run waits for lost connections to come back; a service that has died does not, and each new wait asks it.
            with contextlib.suppress(TimedOutError):
                run.wait(timeout_s=ASK_AGAIN_S, progress=False)
        run.wait(progress=False)
        self.console.print(f"{run.name}: {run.id} {run.status} after {time.monotonic() - begin_s:.0f} s more")
        return run.refresh()


def study(*, model_folder: Path, output: Path, size: Size, keep: bool, console: Console) -> Report:
    """The whole study. Leaves ``report.html``, ``report.json`` and its tables in ``output``."""
    output.mkdir(parents=True, exist_ok=True)
    if not keep:
        shutil.rmtree(output / "store", ignore_errors=True)
    environ = {
        "PROMPTATLAS_MODELS": f"{MODEL}={model_folder.resolve()}",
        "PROMPTATLAS_HOME": str((output / "store").resolve()),
        # Two workers with a thread each: on a model this small, threads wait for each other more than they work.
        "PROMPTATLAS_WORKERS": "2",
        "OMP_NUM_THREADS": "1",
    }
    with running_service(environ, log=output / "service.log") as url, Client(url, progress=False) as client:
        console.print(f"Service at {url}, store and log under {output}")
        going = Study(client, size, console)
        run = going.report(going.prompts())
        run.download_all(to=output)
    found = Report.model_validate_json((output / "report.json").read_bytes())
    write_tables(found, folder=output)
    return found


def tell(report: Report, *, page: Path | None, console: Console) -> None:
    """Prints the verdicts, and writes what was found into a page."""
    for finding in report.findings:
        console.print(f"{finding.number}. {finding.title}: [bold]{finding.verdict}[/]", highlight=False)
    if page is not None:
        text = page.read_text(encoding="utf-8")
        page.write_text(with_findings(text, report=report), encoding="utf-8")
        console.print(f"Written into {page}")


def _digest(spec: Spec) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).resolve().parent / "model")
    parser.add_argument("--output", type=Path, default=Path("findings-output"))
    parser.add_argument("--keep", action="store_true", help="keep an earlier go's store, and go on with its runs")
    parser.add_argument("--tiny", action="store_true", help="so small that it shows nothing")
    chosen = parser.parse_args()
    # As Ctrl-C: blocks are left in order, and the service with them.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else 120)
    size = TINY if chosen.tiny else FULL
    try:
        found = study(model_folder=chosen.model, output=chosen.output, size=size, keep=chosen.keep, console=console)
    except KeyboardInterrupt:
        console.print("interrupted; the service has been stopped")
        return INTERRUPTED
    except (ServiceDidNotStart, PromptAtlasError) as error:
        print(f"findings: {error}", file=sys.stderr)
        return 1
    tell(found, page=None if chosen.tiny else PAGE, console=console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
