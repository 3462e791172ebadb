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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from promptatlas import Client, Map, PromptAtlasError
from promptatlas.types import ModelCard
from rich.console import Console
from tokenizers import Tokenizer

from demo.scaffold import HEADERS
from demo.tour.asking import Quiz, Way, ask_all, read_questions
from demo.tour.atlas import address, make_map, place
from demo.tour.clouds import Clouds
from demo.tour.following import follow
from demo.tour.jobs import Job
from demo.tour.outcomes import Outcome, read_outcome
from demo.tour.picture import save_picture
from demo.tour.plans import DEEP_LAYERS, TASKS, Size, Task, plan, prompt_name
from demo.tour.server import ServiceDidNotStart, running_service
from demo.tour.states import last_states, walks
from demo.tour.tables import as_json, markdown
from demo.tour.telling import Teller
from demo.tour.verdict import AT_LEAST_AFTER, AT_MOST_BEFORE, Verdict, judge

MODEL: Final = "demo"
N_QUESTIONS: Final = 24
"""Held-out ones that are asked by name."""
N_TEXTS: Final = 64
"""Texts of each task whose tokens' states are what deep vectors are compared with."""
MAX_WALK_TOKENS: Final = 8
N_MAPPED: Final = 200
"""Texts of each task on the map."""
DEFAULT_URL: Final = "http://127.0.0.1:8000"
"""Where `make up` listens."""
MAX_WORKERS: Final = 4
REFERENCE: Final = "header typed"
INTERRUPTED: Final = 130


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where the demo takes place."""

    url: str
    client: Client
    card: ModelCard
    teller: Teller
    model_folder: Path
    output: Path

    @property
    def layer(self) -> int:
        """The one that is looked at: in the upper half, where the answer takes shape."""
        return 2 * self.card.n_layers // 3


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
        clouds = Clouds(client, card=card, texts=_texts(client))
        outcomes = _tune(stage, jobs, clouds=clouds)
        quizzes = _ask(stage, outcomes)
        _look(stage, quizzes[0], outcome=outcomes[0], clouds=clouds)
        made = _map(stage, outcomes, quizzes=quizzes)
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


def _texts(client: Client) -> list[str]:
    peeks = [client.datasets.peek(f"demo-{task}", split="train", limit=N_TEXTS) for task in TASKS]
    return [item.input for peek in peeks for item in peek.data if item.input]


def _tune(stage: Stage, jobs: Sequence[Job], *, clouds: Clouds) -> list[Outcome]:
    n_prompts = sum(job.n_members for job in jobs)
    stage.teller.heading(
        1,
        f"{n_prompts} prompts, tuned in {len(jobs)} runs",
        lead="Both tasks are asked without the header line that the model was taught them under. Each run trains the product "
        f"of {len(jobs[0].priors)} priors × {len(jobs[0].seeds)} seeds side by side in one frozen model.",
    )
    runs = [job.start(stage.client, model=MODEL) for job in jobs]
    follow(runs, console=stage.teller.console)
    outcomes = [read_outcome(stage.client, one, job=job, clouds=clouds) for one, job in zip(runs, jobs, strict=True)]
    stage.teller.outcomes(outcomes)
    return outcomes


def _ask(stage: Stage, outcomes: Sequence[Outcome]) -> list[Quiz]:
    stage.teller.heading(
        2,
        "Served by name",
        lead="Held-out questions under the best prompt of each run, by validation loss. [bold]bare[/] is the model alone, "
        f"[bold]{REFERENCE}[/] has the header line in front as text, [bold]seeds mixed[/] is made on the fly, half of either.",
    )
    best = {outcome.job.name: outcome.best.prompt for outcome in outcomes}
    seeds = {outcome.job.name: _both_seeds(outcome) for outcome in outcomes}
    quizzes = [
        Quiz(
            TASKS[task],
            read_questions(stage.client, f"demo-{task}", n=N_QUESTIONS),
            _ways(task, best=best, mix=seeds[prompt_name(task, "soft")]),
        )
        for task in TASKS
    ]
    stage.teller.answers(ask_all(stage.url, model=MODEL, quizzes=quizzes), quizzes=quizzes)
    return quizzes


def _both_seeds(outcome: Outcome) -> list[str]:
    return [member.prompt for member in outcome.members if member.prior == outcome.best.prior]


def _ways(task: Task, *, best: Mapping[str, str], mix: Sequence[str]) -> tuple[Way, ...]:
    (other,) = (one for one in TASKS if one != task)
    return (
        Way("bare"),
        Way(REFERENCE, header=HEADERS[task][0]),
        Way("soft", best[prompt_name(task, "soft")]),
        Way("deep", best[prompt_name(task, "deep")]),
        Way("seeds mixed", {"mix": [{"ref": ref, "weight": 1 / len(mix)} for ref in mix]}),
        Way("other task's", best[prompt_name(other, "soft")]),
    )


def _look(stage: Stage, quiz: Quiz, *, outcome: Outcome, clouds: Clouds) -> None:
    client, teller, layer = stage.client, stage.teller, stage.layer
    teller.heading(
        3,
        "Activations and trajectories",
        lead=f"The state at the last token of each question ({quiz.title}), where the answer is about to be chosen: its distance "
        "from that with the header typed; 1 is the mean distance between two questions.",
    )
    last = last_states(client, model=MODEL, layer=layer, ways=quiz.ways, questions=quiz.questions)
    teller.states(last, ways=quiz.ways, reference=REFERENCE)
    teller.line(
        f"\nOne question and its answer, token by token, at layer {layer}: a point each, its step from the one before."
    )
    chosen = [way for way in quiz.ways if way.label in ("bare", "soft")]
    question = quiz.questions[0].input
    found = walks(client, model=MODEL, layer=layer, ways=chosen, question=question, max_tokens=MAX_WALK_TOKENS)
    tokenizer = Tokenizer.from_file(str(stage.model_folder / "tokenizer.json"))
    texts = [[tokenizer.decode([i], skip_special_tokens=False) for i in walk.token_ids] for walk in found]
    for walk, own in zip(found, texts, strict=True):
        teller.walk(walk, texts=own)
    tokens = clouds.at("soft").points
    path = stage.output / "picture.png"
    save_picture(path, outcome=outcome, tokens=tokens, last=last, walks=found, token_texts=texts)


def _map(stage: Stage, outcomes: Sequence[Outcome], *, quizzes: Sequence[Quiz]) -> Map:
    layers = sorted(layer % stage.card.n_layers for layer in DEEP_LAYERS)
    stage.teller.heading(
        4,
        "A map",
        lead=f"The inputs of layers {', '.join(map(str, layers))}, each on its first two principal components: all tokens, texts "
        "of both tasks, the best prompts on their way from draw to posterior, and an answer token by token.",
    )
    made = make_map(
        stage.client,
        model=MODEL,
        layers=layers,
        prompts={outcome.job.title: outcome.best.prompt for outcome in outcomes},
        datasets={title: f"demo-{task}" for task, title in TASKS.items()},
        question=quizzes[0].questions[0].input,
        n_texts=N_MAPPED,
        max_tokens=MAX_WALK_TOKENS,
    )
    stage.teller.map(made, placing=place(made, quizzes, layer=layers[1]))
    return made


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
