"""`make demo`: an end-to-end run on the demo model in a few minutes, or on a pretrained model with `--model`.

The demo starts a service with an empty store and tunes soft and deep prompts for two tasks from several priors and
seeds. It completes questions under these prompts by name, reads activations and trajectories, creates a map, and writes
a report. On a terminal the service then runs until Ctrl-C, so that its web page can be used; otherwise it is stopped.
The exit status is 0 only if the tuned prompts meet the rule of the tour, which the demo prints.
"""

import argparse
import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from promptatlas import Client, Map, PromptAtlasError
from rich.console import Console

from demo.models.smollm2 import NotFetched
from demo.real.folder import DataError, default_folder
from demo.tour.atlas import address
from demo.tour.clouds import Clouds
from demo.tour.model_text import ModelText
from demo.tour.report.files import write_report
from demo.tour.report.printing import Printer
from demo.tour.report.verdict import Verdict
from demo.tour.server import ServiceDidNotStart, running_service
from demo.tour.steps import Context, compare, create_map, inspect, serve, texts_of_tasks, tune, upload
from demo.tour.tour import Size, Tour
from demo.tour.tours.choice import DEMO, choose

DEFAULT_URL: Final = "http://127.0.0.1:8000"
"""The address of `make up`."""
CACHE: Final = "cache"
INTERRUPTED: Final = 130


def run(tour: Tour, *, output: Path, console: Console, stay: bool = False) -> Sequence[Verdict]:
    """Run the demo; returns the verdicts. stay: keep the service running until Ctrl-C."""
    started = time.monotonic()
    _empty(output)
    printer = Printer(console)
    printer.line(f"Starting a service for {tour.path} with an empty store in {output} …")
    with (
        running_service(_environ(tour, output), log=output / "service.log", ready_within_s=tour.ready_within_s) as url,
        Client(url, progress=False) as client,
    ):
        card = client.models.get(tour.model)
        printer.model(card, url=url)
        text = ModelText.of(tour.path, card=card, cache=output / CACHE)
        context = Context(url=url, client=client, card=card, printer=printer, tour=tour, text=text, output=output)
        upload(context)
        clouds = Clouds(client, card=card, texts=texts_of_tasks(client, tour.tasks))
        outcomes = tune(context, clouds=clouds)
        baselines, comparisons = compare(context, outcomes)
        question_sets = serve(context, outcomes)
        inspect(context, question_sets[0], outcome=outcomes[0], clouds=clouds)
        fitted = create_map(context, outcomes, question_sets=question_sets)
        verdicts = tour.rule.judge(outcomes, baselines=baselines)
        seconds = time.monotonic() - started
        write_report(output, outcomes, verdicts=verdicts, comparisons=comparisons)
        _conclude(printer, verdicts, tour=tour, output=output, seconds=seconds)
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


def _environ(tour: Tour, output: Path) -> Mapping[str, str]:
    return {
        "PROMPTATLAS_MODELS": f"{tour.model}={tour.path.resolve()}",
        "PROMPTATLAS_HOME": str(output / "store"),
        # Outside the store, which each demo begins with an empty one: a converted GGUF file can be used again.
        "PROMPTATLAS_CACHE": str((output / CACHE).resolve()),
        **tour.settings,
    }


def _conclude(printer: Printer, verdicts: Sequence[Verdict], *, tour: Tour, output: Path, seconds: float) -> None:
    printer.heading(5, "Result", lead=tour.rule.lead)
    printer.verdicts(verdicts)
    if tour.leads.remarks:
        printer.line(f"\n{tour.leads.remarks}")
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
    parser.add_argument(
        "--model", default=DEMO, help="demo, smollm2, or the path of a pretrained model, a folder or a GGUF file"
    )
    parser.add_argument("--data", type=Path, help="folder of the real data, for all models except demo")
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    parser.add_argument("--steps", type=int, help="training steps of every run; default: a value per run")
    parser.add_argument("--asked", type=int, help="held-out examples for the evaluation of each prompt; default: 100")
    parser.add_argument("--seeds", type=int, help="number of seeds per prior; default: a value per model")
    parser.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="dtype of a pretrained model"
    )
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
    size = Size(n_steps=chosen.steps, n_asked=chosen.asked, n_seeds=chosen.seeds, dtype=chosen.dtype)
    try:
        tour = choose(chosen.model, size=size, data=chosen.data or default_folder())
        verdicts = run(tour, output=chosen.output, console=console, stay=chosen.stay)
    except KeyboardInterrupt:
        console.print("interrupted; the service has been stopped")
        return INTERRUPTED
    except (ServiceDidNotStart, PromptAtlasError, DataError, NotFetched, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    if not tour.rule.is_met(verdicts):
        print(f"demo: {tour.rule.failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
