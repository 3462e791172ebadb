"""`make distill`: the distillation experiment on the steps model, from teachers and priors to the page with its results.

The experiment starts a service with an empty store. ``--keep`` continues after an interruption.
"""

import argparse
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from promptatlas import Client, PromptAtlasError
from rich.console import Console
from transformers import AutoTokenizer

from demo.arguments import positive_minutes
from demo.distillation.conduct import Experiment
from demo.distillation.jobs import MODEL
from demo.distillation.page.page import PAGE, publish
from demo.distillation.record import Record, WrongRecord, load_record
from demo.distillation.size import FULL, QUICK, Size
from demo.tour.server import ServiceDidNotStart, running_service

INTERRUPTED: Final = 130
WEIGHTS: Final = Path(__file__).resolve().parent / "steps_model"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the command line."""

    output: Path
    weights: Path
    size: Size
    minutes: float
    keep: bool
    finish: bool = False


def experiment(options: Options, *, console: Console) -> Record:
    """Perform the experiment. Writes ``experiment.json`` to the output folder.

    Raises:
        WrongRecord: the record that should be continued is damaged, or of another size.
    """
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    if not options.keep:
        shutil.rmtree(output / "store", ignore_errors=True)
    record = (load_record(output, size=options.size) if options.keep else None) or Record(size=options.size)
    tokenizer = AutoTokenizer.from_pretrained(options.weights)
    environ = {
        "PROMPTATLAS_MODELS": f"{MODEL}={options.weights.resolve()}",
        "PROMPTATLAS_HOME": str((output / "store").resolve()),
        "PROMPTATLAS_WORKERS": "2",
        # For a model of this size, parallel runs are faster than more threads per run.
        "OMP_NUM_THREADS": "1",
    }
    with (
        running_service(environ, log=output / "service.log") as url,
        Client(url, progress=False) as client,
    ):
        console.print(f"Store, log and record in {output}")
        performed = Experiment(
            client=client,
            console=console,
            record=record,
            count=lambda text: len(tokenizer(text)["input_ids"]),
            save=lambda one: one.save(output),
            minutes=options.minutes,
            finish=options.finish,
        )
        performed.perform()
    return performed.record


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    chosen = _parser().parse_args(arguments)
    size = QUICK if chosen.quick else FULL
    options = Options(
        output=chosen.output,
        weights=chosen.weights,
        size=size,
        minutes=chosen.minutes,
        keep=chosen.keep or chosen.finish,
        finish=chosen.finish,
    )
    # SIGTERM acts as Ctrl-C, so that all blocks exit in order and the service is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        record = experiment(options, console=console)
    except KeyboardInterrupt:
        console.print("interrupted; the service has been stopped")
        return INTERRUPTED
    except (ServiceDidNotStart, PromptAtlasError, WrongRecord) as error:
        print(f"distill: {error}", file=sys.stderr)
        return 1
    publish(record, page=None if chosen.quick else PAGE, console=console)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the model")
    parser.add_argument(
        "--output", type=Path, default=Path("distill-output"), help="folder of the store and the record"
    )
    parser.add_argument(
        "--minutes", type=positive_minutes, default=120.0, help="time limit; runs that exceed it are left out"
    )
    parser.add_argument("--keep", action="store_true", help="keep the store and continue its runs")
    parser.add_argument(
        "--finish", action="store_true", help="start no further trainings: report on those that have ended"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test whose numbers have no meaning")
    return parser


if __name__ == "__main__":
    sys.exit(main())
