"""What happens on the demo's stage: prompts are tuned, asked, looked at, and put on a map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from promptatlas import Client, Map
from promptatlas.types import ModelCard
from tokenizers import Tokenizer

from demo.scaffold import HEADERS
from demo.tour.asking import Quiz, Way, ask_all, read_questions
from demo.tour.atlas import make_map, place
from demo.tour.clouds import Clouds
from demo.tour.following import follow
from demo.tour.jobs import Job
from demo.tour.outcomes import Outcome, read_outcome
from demo.tour.picture import save_picture
from demo.tour.plans import DEEP_LAYERS, TASKS, Task, prompt_name
from demo.tour.states import last_states, walks
from demo.tour.telling import Teller

MODEL: Final = "demo"
N_QUESTIONS: Final = 24
"""Held-out ones that are asked by name."""
N_TEXTS: Final = 64
"""Texts of each task whose tokens' states are what deep vectors are compared with."""
N_MAPPED: Final = 200
"""Texts of each task on the map."""
MAX_WALK_TOKENS: Final = 8
REFERENCE: Final = "header typed"


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


def texts_of_tasks(client: Client) -> list[str]:
    """Some of each task, for their states."""
    peeks = [client.datasets.peek(f"demo-{task}", split="train", limit=N_TEXTS) for task in TASKS]
    return [item.input for peek in peeks for item in peek.data if item.input]


def tune(stage: Stage, jobs: Sequence[Job], *, clouds: Clouds) -> list[Outcome]:
    """Start all runs, wait for them, tell what came of them."""
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


def ask(stage: Stage, outcomes: Sequence[Outcome]) -> list[Quiz]:
    """Ask held-out questions of each task in all ways; returns the quizzes."""
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


def look(stage: Stage, quiz: Quiz, *, outcome: Outcome, clouds: Clouds) -> None:
    """Read states and trajectories of a quiz, and save the picture."""
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


def draw_map(stage: Stage, outcomes: Sequence[Outcome], *, quizzes: Sequence[Quiz]) -> Map:
    """Make the map that the page then shows."""
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
