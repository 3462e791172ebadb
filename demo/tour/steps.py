"""The steps of the demo: tuning, completions, activations and trajectories, the map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from promptatlas import Client, Map
from promptatlas.types import ModelCard
from tokenizers import Tokenizer

from demo.scaffold import HEADERS
from demo.tour.atlas import make_map, place
from demo.tour.clouds import Clouds
from demo.tour.jobs import Job
from demo.tour.outcomes import Outcome, read_outcome
from demo.tour.picture import save_picture
from demo.tour.plans import DEEP_LAYERS, TASKS, Task, prompt_name
from demo.tour.printing import Printer
from demo.tour.progress import follow
from demo.tour.questions import QuestionSet, Variant, complete_all, read_questions
from demo.tour.states import last_states, read_trajectories

MODEL: Final = "demo"
N_QUESTIONS: Final = 24
"""Number of held-out questions that are completed under each prompt."""
N_TEXTS: Final = 64
"""Number of texts per task whose token states are compared with deep vectors."""
N_MAPPED: Final = 200
"""Number of texts per task on the map."""
MAX_TRAJECTORY_TOKENS: Final = 8
REFERENCE: Final = "header typed"


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every step of the demo uses."""

    url: str
    client: Client
    card: ModelCard
    printer: Printer
    model_folder: Path
    output: Path

    @property
    def layer(self) -> int:
        """The layer whose states are shown: in the upper half, where the answer forms."""
        return 2 * self.card.n_layers // 3


def texts_of_tasks(client: Client) -> list[str]:
    """Some texts of each task, whose states are read."""
    peeks = [client.datasets.peek(f"demo-{task}", split="train", limit=N_TEXTS) for task in TASKS]
    return [item.input for peek in peeks for item in peek.data if item.input]


def tune(context: Context, jobs: Sequence[Job], *, clouds: Clouds) -> list[Outcome]:
    """Start all runs, wait for them, and print their results."""
    n_prompts = sum(job.n_members for job in jobs)
    context.printer.heading(
        1,
        f"{n_prompts} prompts, tuned in {len(jobs)} runs",
        lead="Both tasks are used without the header line with which the model was trained on them. Each run trains the "
        f"product of {len(jobs[0].priors)} priors × {len(jobs[0].seeds)} seeds together in one frozen model.",
    )
    runs = [job.start(context.client, model=MODEL) for job in jobs]
    follow(runs, console=context.printer.console)
    outcomes = [read_outcome(context.client, one, job=job, clouds=clouds) for one, job in zip(runs, jobs, strict=True)]
    context.printer.outcomes(outcomes)
    return outcomes


def serve(context: Context, outcomes: Sequence[Outcome]) -> list[QuestionSet]:
    """Complete held-out questions of each task under all variants; returns the question sets."""
    context.printer.heading(
        2,
        "Served by name",
        lead="Held-out questions under the best prompt of each run, by validation loss. [bold]bare[/] is the model without a "
        f"prompt. [bold]{REFERENCE}[/] has the header line in the text. [bold]seeds mixed[/] is an equal mix of both seeds.",
    )
    best = {outcome.job.name: outcome.best.prompt for outcome in outcomes}
    seeds = {outcome.job.name: _both_seeds(outcome) for outcome in outcomes}
    question_sets = [
        QuestionSet(
            TASKS[task],
            read_questions(context.client, f"demo-{task}", n=N_QUESTIONS),
            _variants(task, best=best, mix=seeds[prompt_name(task, "soft")]),
        )
        for task in TASKS
    ]
    answers = complete_all(context.url, model=MODEL, question_sets=question_sets)
    context.printer.answers(answers, question_sets=question_sets)
    return question_sets


def _both_seeds(outcome: Outcome) -> list[str]:
    return [member.prompt for member in outcome.members if member.prior == outcome.best.prior]


def _variants(task: Task, *, best: Mapping[str, str], mix: Sequence[str]) -> tuple[Variant, ...]:
    (other,) = (one for one in TASKS if one != task)
    return (
        Variant("bare"),
        Variant(REFERENCE, header=HEADERS[task][0]),
        Variant("soft", best[prompt_name(task, "soft")]),
        Variant("deep", best[prompt_name(task, "deep")]),
        Variant("seeds mixed", {"mix": [{"ref": ref, "weight": 1 / len(mix)} for ref in mix]}),
        Variant("other task's", best[prompt_name(other, "soft")]),
    )


def inspect(context: Context, questions: QuestionSet, *, outcome: Outcome, clouds: Clouds) -> None:
    """Read states and trajectories for a question set, and save the picture."""
    client, printer, layer = context.client, context.printer, context.layer
    printer.heading(
        3,
        "Activations and trajectories",
        lead=f"The state at the last token of each question ({questions.title}), which predicts the answer. The table shows its "
        f"distance from the state with {REFERENCE}. 1 is the mean distance between two questions.",
    )
    last = last_states(client, model=MODEL, layer=layer, variants=questions.variants, questions=questions.questions)
    printer.states(last, variants=questions.variants, reference=REFERENCE)
    printer.line(
        f"\nThe trajectory of one question and its answer at layer {layer}. The step length of a state is its distance from the "
        "previous one."
    )
    variants = [variant for variant in questions.variants if variant.label in ("bare", "soft")]
    found = read_trajectories(
        client,
        model=MODEL,
        layer=layer,
        variants=variants,
        question=questions.questions[0].input,
        max_tokens=MAX_TRAJECTORY_TOKENS,
    )
    tokenizer = Tokenizer.from_file(str(context.model_folder / "tokenizer.json"))
    texts = [[tokenizer.decode([i], skip_special_tokens=False) for i in one.token_ids] for one in found]
    for trajectory, own in zip(found, texts, strict=True):
        printer.trajectory(trajectory, texts=own)
    tokens = clouds.at("soft").points
    path = context.output / "picture.png"
    save_picture(path, outcome=outcome, tokens=tokens, last=last, trajectories=found, token_texts=texts)


def create_map(context: Context, outcomes: Sequence[Outcome], *, question_sets: Sequence[QuestionSet]) -> Map:
    """Create the map that the web page shows."""
    layers = sorted(layer % context.card.n_layers for layer in DEEP_LAYERS)
    context.printer.heading(
        4,
        "A map",
        lead=f"The inputs of layers {', '.join(map(str, layers))}, each projected to its first two principal components: all "
        "tokens, texts of both tasks, the best prompts from draw to posterior, and the trajectory of an answer.",
    )
    fitted = make_map(
        context.client,
        model=MODEL,
        layers=layers,
        prompts={outcome.job.title: outcome.best.prompt for outcome in outcomes},
        datasets={title: f"demo-{task}" for task, title in TASKS.items()},
        question=question_sets[0].questions[0].input,
        n_texts=N_MAPPED,
        max_tokens=MAX_TRAJECTORY_TOKENS,
    )
    context.printer.map(fitted, placement=place(fitted, question_sets, layer=layers[1]))
    return fitted
