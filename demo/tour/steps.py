"""The steps of a tour: datasets, tuning, completions, activations and trajectories, the map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from promptatlas import Client, Map
from promptatlas.types import ModelCard

from demo.tour.atlas import make_map, place
from demo.tour.baselines import evaluate_baselines
from demo.tour.clouds import Clouds
from demo.tour.model_text import ModelText
from demo.tour.outcomes import Outcome, read_outcome
from demo.tour.progress import follow
from demo.tour.questions import QuestionSet, Variant, complete_all, read_questions
from demo.tour.report.comparison import Row, comparison
from demo.tour.report.picture import save_picture
from demo.tour.report.printing import Printer
from demo.tour.report.verdict import Baselines
from demo.tour.states import last_states, read_trajectories
from demo.tour.tour import Task, Tour

N_QUESTIONS: Final = 24
"""Number of held-out questions that are completed under each prompt."""
N_TEXTS: Final = 64
"""Number of texts per task whose token states are compared with deep vectors."""
MAX_TRAJECTORY_TOKENS: Final = 8


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every step uses."""

    url: str
    client: Client
    card: ModelCard
    printer: Printer
    tour: Tour
    text: ModelText
    output: Path

    @property
    def layer(self) -> int:
        """The layer whose states are shown: in the upper half, where the answer forms."""
        return 2 * self.card.n_layers // 3


def upload(context: Context) -> None:
    """Store the datasets of the tour, and print their splits."""
    for dataset in context.tour.uploads(context.text.count):
        splits = dataset.upload(context.client).splits
        counts = ", ".join(f"{splits.get(name, 0)} {name}" for name in ("train", "validation", "test"))
        left_out = f"; {dataset.n_left_out} left out" if dataset.n_left_out else ""
        context.printer.line(f"Dataset [bold]{dataset.name}[/]: {counts}{left_out}")


def texts_of_tasks(client: Client, tasks: Sequence[Task]) -> list[str]:
    """Some texts of each task, whose states are read."""
    peeks = [client.datasets.peek(task.dataset, split="train", limit=N_TEXTS) for task in tasks]
    return [item.input for peek in peeks for item in peek.data if item.input]


def tune(context: Context, *, clouds: Clouds) -> list[Outcome]:
    """Start all runs, wait for them, and print their results."""
    jobs, client = context.tour.jobs, context.client
    n_prompts = sum(job.n_members for job in jobs)
    context.printer.heading(1, f"{n_prompts} prompts, tuned in {len(jobs)} runs", lead=context.tour.leads.tuning)
    runs = [job.start(client, model=context.tour.model) for job in jobs]
    follow(runs, console=context.printer.console)
    outcomes = [read_outcome(client, one, job=job, clouds=clouds) for one, job in zip(runs, jobs, strict=True)]
    context.printer.outcomes(outcomes)
    return outcomes


def compare(context: Context, outcomes: Sequence[Outcome]) -> tuple[Baselines, Mapping[str, Sequence[Row]]]:
    """Evaluate the instructed model, and print before and after; empty if the tour has no such evaluation."""
    tour = context.tour
    baselines = evaluate_baselines(context.client, tour, chat=context.text.chat, printer=context.printer)
    references = {task.dataset: task.reference for task in tour.tasks}
    found = {
        outcome.job.title: comparison(outcome, baselines=baselines, reference=references[outcome.job.dataset])
        for outcome in outcomes
        if outcome.job.dataset in baselines
    }
    if found:
        context.printer.comparisons(found)
    return baselines, found


def serve(context: Context, outcomes: Sequence[Outcome]) -> list[QuestionSet]:
    """Complete held-out questions of each task under all variants; returns the question sets."""
    tour = context.tour
    context.printer.heading(2, "Served by name", lead=tour.leads.serving)
    question_sets = [
        QuestionSet(
            task.title,
            read_questions(context.client, task.dataset, n=N_QUESTIONS),
            variants_of(task, outcomes=outcomes, frame=task.frame(context.text.chat)),
            max_tokens=task.max_tokens,
        )
        for task in tour.tasks
    ]
    answers = complete_all(context.url, model=tour.model, question_sets=question_sets)
    context.printer.answers(answers, question_sets=question_sets)
    return question_sets


def variants_of(task: Task, *, outcomes: Sequence[Outcome], frame: str) -> tuple[Variant, ...]:
    """The variants of a task's questions: the best prompt of each of its runs, and what it is compared with."""
    own = [outcome for outcome in outcomes if outcome.job.dataset == task.dataset]
    other = next(outcome for outcome in outcomes if outcome.job.dataset != task.dataset)
    seeds = [member.prompt for member in own[0].members if member.prior == own[0].best.prior]
    mix = {"mix": [{"ref": ref, "weight": 1 / len(seeds)} for ref in seeds]}
    return (
        Variant("bare"),
        Variant(task.reference, frame=frame),
        *(Variant(str(outcome.job.method["kind"]), outcome.best.prompt) for outcome in own),
        *([Variant("seeds mixed", mix)] if task.mixes_seeds else []),
        Variant("other task's", other.best.prompt),
    )


def inspect(context: Context, questions: QuestionSet, *, outcome: Outcome, clouds: Clouds) -> None:
    """Read states and trajectories for a question set, and save the picture."""
    client, printer, layer, model = context.client, context.printer, context.layer, context.tour.model
    reference = questions.variants[1].label
    printer.heading(
        3,
        "Activations and trajectories",
        lead=f"The state at the last token of each question ({questions.title}), which predicts the answer. The table shows its "
        f"distance from the state with {reference}. 1 is the mean distance between two questions.",
    )
    last = last_states(client, model=model, layer=layer, variants=questions.variants, questions=questions.questions)
    printer.states(last, variants=questions.variants, reference=reference)
    printer.line(
        f"\nThe trajectory of one question and its answer at layer {layer}. The step length of a state is its distance from the "
        "previous one."
    )
    variants = [variant for variant in questions.variants if variant.label in ("bare", "soft")]
    found = read_trajectories(
        client,
        model=model,
        layer=layer,
        variants=variants,
        question=questions.questions[0].input,
        max_tokens=MAX_TRAJECTORY_TOKENS,
    )
    texts = [[context.text.token(i) for i in one.token_ids] for one in found]
    for trajectory, own in zip(found, texts, strict=True):
        printer.trajectory(trajectory, texts=own)
    tokens = clouds.at("soft").points
    path = context.output / "picture.png"
    save_picture(path, outcome=outcome, tokens=tokens, last=last, trajectories=found, token_texts=texts)


def create_map(context: Context, outcomes: Sequence[Outcome], *, question_sets: Sequence[QuestionSet]) -> Map:
    """Create the map that the web page shows."""
    tour = context.tour
    layers = sorted(layer % context.card.n_layers for layer in tour.mapped.layers)
    context.printer.heading(
        4,
        "A map",
        lead=f"The inputs of layers {', '.join(map(str, layers))}, each projected to its first two principal components: "
        f"{tour.mapped.tokens}, texts of both tasks, the best prompts from draw to posterior, and the trajectory of an answer.",
    )
    fitted = make_map(
        context.client,
        model=tour.model,
        layers=layers,
        mapped=tour.mapped,
        prompts={outcome.job.title: outcome.best.prompt for outcome in outcomes},
        datasets={task.title: task.dataset for task in tour.tasks},
        question=question_sets[0].questions[0].input,
        max_tokens=MAX_TRAJECTORY_TOKENS,
    )
    context.printer.map(fitted, placement=place(fitted, question_sets, layer=layers[1]))
    return fitted
