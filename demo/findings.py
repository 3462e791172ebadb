"""`make findings`: the paper's findings (arXiv 2412.18582), measured from scratch on the demo model or on SmolLM2.

The study starts a service with an empty store, tunes about 100 prompts from many priors, seeds and learning rates, creates one
report over all of them, and writes the numbers to the model's page in docs. It takes long; ``--keep`` continues after an
interruption.
"""

import argparse
import contextlib
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from promptatlas import Client, PromptAtlasError
from promptatlas.types import ModelCard, Report
from rich.console import Console

from demo.arguments import positive_minutes
from demo.models.smollm2 import NotFetched
from demo.real.folder import DataError, default_folder
from demo.study.budget import NotEnoughTime
from demo.study.conduct import TimedStudy
from demo.study.page.map_figure import save_maps
from demo.study.page.page import publish
from demo.study.plan import Size, StudyPlan
from demo.study.plans import PLANS
from demo.study.reasons import measure_reasons
from demo.study.record import Record, WrongRecord, load_record
from demo.study.runs import StudyRuns
from demo.study.tables import write_tables
from demo.tour.model_text import ModelText
from demo.tour.server import ServiceDidNotStart, running_service

INTERRUPTED: Final = 130
READY_WITHIN_S: Final = 600.0
"""The first start converts a GGUF file."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the command line. size: None: chosen by the time limit, or the only one. steps: None: as
    many as the time limit allows. dtype: None: that of the plan.
    """

    output: Path
    weights: Path
    data: Path
    size: Size | None
    minutes: float
    keep: bool
    finish: bool
    steps: int | None = None
    dtype: str | None = None


def study(plan: StudyPlan, *, options: Options, console: Console) -> tuple[Report, Record]:
    """Perform the study. Writes ``report.html``, ``report.json``, ``study.json`` and tables to the output folder.

    Raises:
        DataError, NotEnoughTime, WrongRecord: the study cannot be performed as requested.
    """
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    if not options.keep:
        shutil.rmtree(output / "store", ignore_errors=True)
    kept = load_record(output, plan=plan.name) if options.keep else None
    record = kept or Record(plan=plan.name, size=options.size or plan.full)
    with _service(plan, options=options) as client:
        console.print(f"Store, log and report in {output}")
        runs, card = StudyRuns(client, console), client.models.get(plan.model)
        text = ModelText.of(options.weights, card=card, cache=output / "store" / "cache")
        if plan.data is not None:
            n_records = plan.data.upload(client, folder=options.data, count=text.count, size=record.size)
            record = replace(record, n_records=n_records, dtype=card.dtype)
        if plan.budget_minutes is None:
            report = _all_at_once(runs, plan=plan, card=card, size=record.size, output=output)
        else:
            timed = TimedStudy(
                runs,
                plan=plan,
                card=card,
                record=record,
                size=options.size,
                steps=options.steps,
                minutes=options.minutes,
                finish=options.finish,
                output=output,
                save=lambda one: one.save(output),
            )
            report, record = timed.perform(), timed.record
        if plan.with_reasons:
            record = replace(record, reasons=measure_reasons(client, plan=plan, record=record, text=text))
            record.save(output)
        save_maps(client, record=record, folder=output)
    write_tables(report, folder=output)
    return report, record


def _all_at_once(runs: StudyRuns, *, plan: StudyPlan, card: ModelCard, size: Size, output: Path) -> Report:
    prompts = [ref for refs in runs.tune_all(plan, size=size, card=card).values() for ref in refs]
    run = runs.finished(runs.new_report(plan.report_spec(prompts=prompts, size=size, card=card)))
    run.download_all(to=output)
    return Report.model_validate_json((output / "report.json").read_bytes())


@contextlib.contextmanager
def _service(plan: StudyPlan, *, options: Options) -> Iterator[Client]:
    environ = {
        "PROMPTATLAS_MODELS": f"{plan.model}={options.weights.resolve()}",
        "PROMPTATLAS_HOME": str((options.output / "store").resolve()),
        **plan.environ,
        **({} if options.dtype is None else {"PROMPTATLAS_DTYPE": options.dtype}),
    }
    log = options.output / "service.log"
    with (
        running_service(environ, log=log, ready_within_s=READY_WITHIN_S) as url,
        Client(url, progress=False) as client,
    ):
        yield client


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    chosen = _parser().parse_args(arguments)
    plan = PLANS[chosen.model]
    if chosen.brief:
        if plan.brief is None:
            print(f"findings: the study of {plan.name} has no brief form", file=sys.stderr)
            return 2
        plan = replace(plan, full=plan.brief)
    options = Options(
        output=chosen.output or Path("findings-output" if chosen.model == "demo" else f"findings-output-{plan.name}"),
        weights=chosen.weights or plan.weights,
        data=chosen.data or default_folder(),
        size=plan.tiny if chosen.tiny else None,
        minutes=chosen.minutes or plan.budget_minutes or 0.0,
        keep=chosen.keep,
        finish=chosen.finish,
        steps=chosen.steps or (plan.full.steps if chosen.brief else None),
        dtype=chosen.dtype,
    )
    # SIGTERM acts as Ctrl-C, so that all blocks exit in order and the service is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        if plan.data is not None:
            plan.data.require(options.data)
        if plan.fetch is not None and chosen.weights is None:
            plan.fetch(plan.weights)
        report, record = study(plan, options=options, console=console)
    except KeyboardInterrupt:
        console.print("interrupted; the service has been stopped")
        return INTERRUPTED
    except (ServiceDidNotStart, PromptAtlasError, NotFetched, DataError, NotEnoughTime, WrongRecord) as error:
        print(f"findings: {error}", file=sys.stderr)
        return 1
    publish(report, record=record, plan=plan, output=None if chosen.tiny else options.output, console=console)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(PLANS), default="demo", help="the study to perform")
    parser.add_argument("--weights", type=Path, help="other weights than those of the study: a folder or a GGUF file")
    parser.add_argument("--output", type=Path, help="folder of the store, the log and the report")
    parser.add_argument("--data", type=Path, help="folder of the real datasets")
    parser.add_argument("--minutes", type=positive_minutes, help="time limit, which decides the number of steps")
    parser.add_argument(
        "--steps", type=_steps, metavar="N", help="steps of each run; runs that exceed the time limit are left out"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the store of an earlier session and continue its runs"
    )
    parser.add_argument(
        "--finish", action="store_true", help="start no further tunings: report on those that have ended"
    )
    parser.add_argument(
        "--brief", action="store_true", help="fewer steps, examples and priors, for CPUs without bfloat16 instructions"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the model, instead of the study's own")
    parser.add_argument("--tiny", action="store_true", help="a smoke test whose numbers have no meaning")
    return parser


def _steps(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number of steps, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
