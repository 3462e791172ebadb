"""What the demo prints: every number in it comes from the service that has just been asked."""

import math
from collections.abc import Sequence
from typing import Final

from promptatlas import Map
from promptatlas.types import ModelCard
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.tour import tables
from demo.tour.asking import Answer, Answers, Quiz, Way, n_right
from demo.tour.atlas import Placing
from demo.tour.outcomes import Outcome
from demo.tour.states import LastStates, Walk
from demo.tour.verdict import Verdict

N_READ_SHOWN: Final = 2
"""Tokens of the question that stand in front of a trajectory's written ones."""


class Teller:
    """Prints the stops of the tour."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def heading(self, number: int, title: str, *, lead: str) -> None:
        """A stop, and in a sentence or two what is about to be seen."""
        self.console.print(f"\n[bold cyan]{number}. {title}[/]")
        self.console.print(lead, highlight=False)

    def line(self, text: str) -> None:
        """A plain line."""
        self.console.print(text, highlight=False)

    def model(self, card: ModelCard, *, url: str) -> None:
        """The hosted model."""
        self.line(
            f"The service answers at {url}. Hosted: [bold]{card.id}[/] ({card.architecture}), {card.n_layers} layers of width "
            f"{card.d_model}, {card.n_heads} heads on {card.n_kv_heads} key heads, vocabulary {card.vocab_size}, "
            f"{card.dtype} on {card.device}, weights {card.revision[:12]}…"
        )

    def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """A table a run."""
        for outcome in outcomes:
            self.line(f"\n  {escape(tables.title(outcome))}")
            self.console.print(tables.rich_table(outcome))
        self.line("\n" + tables.LEGEND.replace("*", ""))

    def answers(self, answers: Answers, *, quizzes: Sequence[Quiz]) -> None:
        """The first question of each quiz in full, then the score of all."""
        for quiz, by_way in zip(quizzes, answers.by_quiz, strict=True):
            question = quiz.questions[0]
            wanted = escape(", ".join(question.answers))
            self.line(f"\n  [italic]{escape(question.input)}[/]  (wanted: [bold]{wanted}[/])")
            table = _table("asked", "answer", "")
            for way in quiz.ways:
                answer = by_way[way.label][0]
                table.add_row(_told(way), _shown(answer), "[green]right[/]" if answer.is_right(question) else "")
            self.console.print(table)
        self.line("")
        self.console.print(_scores(answers, quizzes))
        self.line(
            f"[bold]{answers.n_rows} completions in {answers.n_steps} forwards of the model[/] ({answers.seconds:.1f} s): "
            "rows of all these prompts, and of none, went through it side by side."
        )

    def states(self, last: LastStates, *, ways: Sequence[Way], reference: str) -> None:
        """How near each way comes to the one of reference."""
        table = _table("asked", f"distance at layer {last.layer}")
        for way in ways:
            table.add_row(way.label, f"{last.distance(way.label, reference=reference):.3f}")
        self.console.print(table)

    def walk(self, walk: Walk, *, texts: Sequence[str]) -> None:
        """The end of the question and the written part of one trajectory, token by token."""
        n_input = int((~walk.generated).sum())
        self.line(f"\n  [bold]{walk.label}[/]: {n_input} tokens read, then written: {escape(repr(walk.text))}")
        table = _table("position", "token", "", "its probability", "step of the state")
        for i in range(max(1, n_input - N_READ_SHOWN), len(texts)):
            written = bool(walk.generated[i])
            probability = f"{math.exp(walk.logprobs[i]):.3f}" if written else ""
            does = "written" if written else "read"
            table.add_row(str(i), escape(repr(texts[i])), does, probability, f"{walk.step_lengths[i]:.1f}")
        self.console.print(table)

    def map(self, made: Map, *, placing: Placing) -> None:
        """How much of each layer the map shows, and what placing new texts on it finds."""
        table = _table("layer", "points", "variance on the map", "trustworthiness")
        for layer, quality in made.quality.items():
            shown = 100 * sum(quality.explained_variance or ())
            trust = "" if quality.trustworthiness is None else f"{quality.trustworthiness:.3f}"
            table.add_row(str(layer), f"{quality.n_points:,}", f"{shown:.0f} %", trust)
        self.console.print(table)
        self.line(
            f"Placed on it without fitting it again, at layer {placing.layer}: {placing.n_own} of {placing.n_questions} held-out "
            "questions lie nearer to the centre of their own task's texts."
        )

    def verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """What has been shown, a line a run."""
        for verdict in verdicts:
            mark = "[green]✓[/]" if verdict.lifted else "[red]✗[/]"
            self.line(f"{mark} {escape(str(verdict))}")


def _scores(answers: Answers, quizzes: Sequence[Quiz]) -> Table:
    table = _table("asked", *(f"right, {quiz.title}" for quiz in quizzes))
    for way in quizzes[0].ways:
        scores = [
            f"{n_right(by_way[way.label], quiz.questions)} of {len(quiz.questions)}"
            for quiz, by_way in zip(quizzes, answers.by_quiz, strict=True)
        ]
        table.add_row(way.label, *scores)
    return table


def _told(way: Way) -> str:
    return f"{way.label} ({way.prompt})" if isinstance(way.prompt, str) else way.label


def _shown(answer: Answer) -> str:
    return escape(answer.text.strip().replace("\n", " ⏎ ")) + ("" if answer.ended else " …")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
