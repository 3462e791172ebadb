"""`make demo`: an end-to-end run on the demo model, in a few minutes.

The demo starts a service with an empty store and tunes soft and deep prompts for two tasks from several priors and
seeds. It completes questions under these prompts by name, reads activations and trajectories, creates a map, and writes
a report. On a terminal the service then runs until Ctrl-C, so that its web page can be used; otherwise it is stopped.
The exit status is 0 only if a tuned prompt has learnt its task.
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from promptatlas import Client, Map, PromptAtlasError
from rich.console import Console

from demo.tour.atlas import address
from demo.tour.clouds import Clouds
from demo.tour.jobs import Job
from demo.tour.outcomes import Outcome
from demo.tour.plans import Size, plan
from demo.tour.printing import Printer
from demo.tour.server import ServiceDidNotStart, running_service
from demo.tour.steps import MODEL, Context, create_map, inspect, serve, texts_of_tasks, tune
from demo.tour.tables import as_json, markdown
from demo.tour.verdict import AT_LEAST_AFTER, AT_MOST_BEFORE, Verdict, judge

DEFAULT_URL: Final = "http://127.0.0.1:8000"
"""The address of `make up`."""
MAX_WORKERS: Final = 4
INTERRUPTED: Final = 130


def run(
    *, model_folder: Path, output: Path, jobs: Sequence[Job], console: Console, stay: bool = False
) -> list[Verdict]:
    """Run the demo; returns the verdicts. stay: keep the service running until Ctrl-C."""
    started = time.monotonic()
    _empty(output)
    printer = Printer(console)
    printer.line(f"Starting a service for {model_folder} with an empty store in {output} …")
    with (
        running_service(_environ(model_folder, output), log=output / "service.log") as url,
        Client(url, progress=False) as client,
    ):
        card = client.models.get(MODEL)
        printer.model(card, url=url)
        context = Context(url=url, client=client, card=card, printer=printer, model_folder=model_folder, output=output)
        clouds = Clouds(client, card=card, texts=texts_of_tasks(client))
        outcomes = tune(context, jobs, clouds=clouds)
        question_sets = serve(context, outcomes)
        inspect(context, question_sets[0], outcome=outcomes[0], clouds=clouds)
        fitted = create_map(context, outcomes, question_sets=question_sets)
        verdicts = judge(outcomes)
        _report(output, outcomes, verdicts=verdicts)
        _conclude(printer, verdicts, output=output, seconds=time.monotonic() - started)
        if stay:
            printer.line("\nThe service keeps running. Press Ctrl-C to stop it.")
            _links(printer, url, fitted)
            _until_interrupted()
    printer.line(
        f"\nThe service has stopped. To start it again with the same store: PROMPTATLAS_HOME={output / 'store'} make up"
    )
    _links(printer, DEFAULT_URL, fitted)
    return verdicts


def _links(printer: Printer, url: str, fitted: Map) -> None:
    printer.line(f"  web page  [bold]{url}[/]")
    printer.line(f"  the map   [bold]{address(url, fitted)}[/]")


def _until_interrupted() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)


def _empty(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(output / "store", ignore_errors=True)


def _environ(model_folder: Path, output: Path) -> Mapping[str, str]:
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_workers = min(MAX_WORKERS, n_cores)
    return {
        "PROMPTATLAS_MODELS": f"{MODEL}={model_folder.resolve()}",
        "PROMPTATLAS_HOME": str(output / "store"),
        "PROMPTATLAS_WORKERS": str(n_workers),
        # All questions must fit in one batch.
        "PROMPTATLAS_MAX_BATCH": "512",
        # For a model of this size, parallel runs are faster than more threads per run.
        "OMP_NUM_THREADS": str(max(1, n_cores // n_workers)),
    }


def _report(output: Path, outcomes: Sequence[Outcome], *, verdicts: Sequence[Verdict]) -> None:
    shown = [{**vars(verdict), "lifted": verdict.lifted} for verdict in verdicts]
    (output / "report.json").write_text(as_json(outcomes, verdicts=shown), encoding="utf-8")
    (output / "report.md").write_text(markdown(outcomes), encoding="utf-8")


def _conclude(printer: Printer, verdicts: Sequence[Verdict], *, output: Path, seconds: float) -> None:
    printer.heading(
        5,
        "Result",
        lead="A prompt has learnt its task if its accuracy on held-out questions rises from at most "
        f"{100 * AT_MOST_BEFORE:.0f} % (without a prompt, and with the draw) to at least {100 * AT_LEAST_AFTER:.0f} %:",
    )
    printer.verdicts(verdicts)
    files = {
        "report.md, report.json": "the tables",
        "picture.png": "training curves, vectors, states, trajectories",
        "service.log": "the service's log",
        "store/": "prompts, runs, the map",
    }
    printer.line(f"\nDuration: {seconds:.0f} s. Files in [bold]{output}[/]:")
    for name, what in files.items():
        printer.line(f"  {name:24}{what}")


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).resolve().parent / "model")
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    parser.add_argument("--steps", type=int, help="training steps of every run; default: a value per run")
    parser.add_argument(
        "--asked", type=int, default=Size.n_asked, help="held-out examples for the evaluation of each prompt"
    )
    parser.add_argument("--seeds", type=int, default=Size.n_seeds, help="number of seeds per prior")
    parser.add_argument(
        "--stay",
        action=argparse.BooleanOptionalAction,
        default=sys.stdin.isatty() and sys.stdout.isatty(),
        help="keep the service running until Ctrl-C; default: if standard input and output are terminals",
    )
    chosen = parser.parse_args()
    # SIGTERM acts as Ctrl-C, so that all blocks exit in order and the service is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else 120, soft_wrap=False)
    jobs = plan(Size(n_steps=chosen.steps, n_asked=chosen.asked, n_seeds=chosen.seeds))
    try:
        verdicts = run(model_folder=chosen.model, output=chosen.output, jobs=jobs, console=console, stay=chosen.stay)
    except KeyboardInterrupt:
        console.print("interrupted; the service has been stopped")
        return INTERRUPTED
    except (ServiceDidNotStart, PromptAtlasError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    if not any(verdict.lifted for verdict in verdicts):
        print("demo: no tuned prompt has learnt its task", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
