"""`make demo`: the main job on the demo model, in a few minutes.

Starts a service with an empty store, tunes soft and deep prompts for two tasks under several priors and seeds, asks
questions under them by name, looks at activations and trajectories, makes a map of it all, and leaves a report. On a
terminal the service then stays until Ctrl-C, for its page to be looked at; else it is stopped. Ends with status 0 only
if a tuned prompt has learnt its task.
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
from demo.tour.server import ServiceDidNotStart, running_service
from demo.tour.stops import MODEL, Stage, ask, draw_map, look, texts_of_tasks, tune
from demo.tour.tables import as_json, markdown
from demo.tour.telling import Teller
from demo.tour.verdict import AT_LEAST_AFTER, AT_MOST_BEFORE, Verdict, judge

DEFAULT_URL: Final = "http://127.0.0.1:8000"
"""Where `make up` listens."""
MAX_WORKERS: Final = 4
INTERRUPTED: Final = 130


def run(
    *, model_folder: Path, output: Path, jobs: Sequence[Job], console: Console, stay: bool = False
) -> list[Verdict]:
    """All of it; returns what it has shown. stay: keep the service until Ctrl-C."""
    began = time.monotonic()
    _empty(output)
    teller = Teller(console)
    teller.line(f"Starting a service on {model_folder} with an empty store under {output} …")
    with (
        running_service(_environ(model_folder, output), log=output / "service.log") as url,
        Client(url, progress=False) as client,
    ):
        card = client.models.get(MODEL)
        teller.model(card, url=url)
        stage = Stage(url=url, client=client, card=card, teller=teller, model_folder=model_folder, output=output)
        clouds = Clouds(client, card=card, texts=texts_of_tasks(client))
        outcomes = tune(stage, jobs, clouds=clouds)
        quizzes = ask(stage, outcomes)
        look(stage, quizzes[0], outcome=outcomes[0], clouds=clouds)
        made = draw_map(stage, outcomes, quizzes=quizzes)
        verdicts = judge(outcomes)
        _report(output, outcomes, verdicts=verdicts)
        _conclude(teller, verdicts, output=output, seconds=time.monotonic() - began)
        if stay:
            teller.line("\nThe service stays for you to look at. Ctrl-C stops it.")
            _links(teller, url, made)
            _until_interrupted()
    teller.line(
        f"\nThe service has stopped. To start it again on what it has made: PROMPTATLAS_HOME={output / 'store'} make up"
    )
    _links(teller, DEFAULT_URL, made)
    return verdicts


def _links(teller: Teller, url: str, made: Map) -> None:
    teller.line(f"  the page  [bold]{url}[/]")
    teller.line(f"  the map   [bold]{address(url, made)}[/]")


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
        # Room for the rows of all questions in one batch.
        "PROMPTATLAS_MAX_BATCH": "512",
        # A model this small gains more from a run beside it than from more threads.
        "OMP_NUM_THREADS": str(max(1, n_cores // n_workers)),
    }


def _report(output: Path, outcomes: Sequence[Outcome], *, verdicts: Sequence[Verdict]) -> None:
    shown = [{**vars(verdict), "lifted": verdict.lifted} for verdict in verdicts]
    (output / "report.json").write_text(as_json(outcomes, verdicts=shown), encoding="utf-8")
    (output / "report.md").write_text(markdown(outcomes), encoding="utf-8")


def _conclude(teller: Teller, verdicts: Sequence[Verdict], *, output: Path, seconds: float) -> None:
    teller.heading(
        5,
        "Has it worked?",
        lead=f"From at most {100 * AT_MOST_BEFORE:.0f} % before, drawn or bare, to at least {100 * AT_LEAST_AFTER:.0f} %, on "
        "held-out questions:",
    )
    teller.verdicts(verdicts)
    files = {
        "report.md, report.json": "the tables",
        "picture.png": "training, moves, states, trajectories",
        "service.log": "the service's log",
        "store/": "prompts, runs, the map",
    }
    teller.line(f"\nAll that took {seconds:.0f} s. In [bold]{output}[/]:")
    for name, what in files.items():
        teller.line(f"  {name:24}{what}")


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).resolve().parent / "model")
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    parser.add_argument("--steps", type=int, help="of every run, in place of its own")
    parser.add_argument(
        "--asked", type=int, default=Size.n_asked, help="held-out examples that each prompt is measured on"
    )
    parser.add_argument("--seeds", type=int, default=Size.n_seeds, help="how many of each prior")
    parser.add_argument(
        "--stay",
        action=argparse.BooleanOptionalAction,
        default=sys.stdin.isatty() and sys.stdout.isatty(),
        help="keep the service until Ctrl-C; by default where there is somebody to press it",
    )
    chosen = parser.parse_args()
    # As Ctrl-C: blocks are left in order, and the service with them.
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
