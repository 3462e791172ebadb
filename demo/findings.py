"""`make findings`: the paper's findings (arXiv 2412.18582), measured on the demo model from scratch.

The study starts a service with an empty store and two workers and tunes about 100 prompts from many priors, seeds and
learning rates. It creates one report over all of them and writes the numbers to docs/findings.md. Each prompt trains for
400 steps, so the study takes long.
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
WAIT_S: Final = 60.0
PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "findings.md"


@dataclass(frozen=True)
class Study:
    """The study on a running service. Runs that an earlier session started are continued."""

    client: Client
    size: Size
    console: Console

    def prompts(self) -> list[str]:
        """Run all tunings; returns references of all prompts."""
        started = [self._tune(one.spec, name=one.name) for one in tunings(model=MODEL, size=self.size)]
        return [ref for run in started for ref in self._finished(run).prompts]

    def report(self, prompts: list[str]) -> Run:
        """Create the report. It is never reused, because the code of the measures can have changed."""
        spec = report_spec(model=MODEL, prompts=prompts, size=self.size)
        return self._finished(self.client.runs.create("report", spec, name="findings"))

    def _tune(self, spec: Spec, *, name: str) -> Run:
        label = f"{name} {_digest(spec)}"
        for run in self.client.runs.list(kind="tune"):
            if run.name == label:
                self.console.print(f"{label}: continued, {run.id}, {run.status}")
                return run.resume() if run.status in ("failed", "cancelled") else run
        return self.client.runs.create("tune", spec, name=label)

    def _finished(self, run: Run) -> Run:
        started_s = time.monotonic()
        while not run.ended:
            # A wait reconnects after lost connections. A new wait raises if the service has ended.
            with contextlib.suppress(TimedOutError):
                run.wait(timeout_s=WAIT_S, progress=False)
        run.wait(progress=False)
        self.console.print(f"{run.name}: {run.id} {run.status} after {time.monotonic() - started_s:.0f} s")
        return run.refresh()


def study(*, model_folder: Path, output: Path, size: Size, keep: bool, console: Console) -> Report:
    """Run the study. Writes ``report.html``, ``report.json`` and tables to ``output``."""
    output.mkdir(parents=True, exist_ok=True)
    if not keep:
        shutil.rmtree(output / "store", ignore_errors=True)
    environ = {
        "PROMPTATLAS_MODELS": f"{MODEL}={model_folder.resolve()}",
        "PROMPTATLAS_HOME": str((output / "store").resolve()),
        # Two workers with one thread each: for a model of this size, more threads are slower.
        "PROMPTATLAS_WORKERS": "2",
        "OMP_NUM_THREADS": "1",
    }
    with running_service(environ, log=output / "service.log") as url, Client(url, progress=False) as client:
        console.print(f"Service at {url}, store and log in {output}")
        running = Study(client, size, console)
        run = running.report(running.prompts())
        run.download_all(to=output)
    found = Report.model_validate_json((output / "report.json").read_bytes())
    write_tables(found, folder=output)
    return found


def publish(report: Report, *, page: Path | None, console: Console) -> None:
    """Print the verdicts and write the report's numbers to the page."""
    for finding in report.findings:
        console.print(f"{finding.number}. {finding.title}: [bold]{finding.verdict}[/]", highlight=False)
    if page is not None:
        text = page.read_text(encoding="utf-8")
        page.write_text(with_findings(text, report=report), encoding="utf-8")
        console.print(f"Numbers written to {page}")


def _digest(spec: Spec) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).resolve().parent / "model")
    parser.add_argument("--output", type=Path, default=Path("findings-output"))
    parser.add_argument(
        "--keep", action="store_true", help="keep the store of an earlier session and continue its runs"
    )
    parser.add_argument("--tiny", action="store_true", help="a smoke test whose numbers have no meaning")
    chosen = parser.parse_args()
    # SIGTERM acts as Ctrl-C, so that all blocks exit in order and the service is stopped.
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
    publish(found, page=None if chosen.tiny else PAGE, console=console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
