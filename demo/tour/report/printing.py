"""Printed output of the demo. Every number comes from the running service."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from promptatlas import Map
from promptatlas.types import ModelCard
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.tour.atlas import Placement
from demo.tour.outcomes import Outcome
from demo.tour.questions import Answer, Answers, QuestionSet, Variant, n_correct
from demo.tour.report import comparison, tables
from demo.tour.report.verdict import Verdict
from demo.tour.states import LastStates, Trajectory

N_READ_SHOWN: Final = 2
"""Number of question tokens that are shown before the generated ones."""


class Printer:
    """Prints the steps of the demo."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def heading(self, number: int, title: str, *, lead: str) -> None:
        """The heading of a step, with a short explanation."""
        self.console.print(f"\n[bold cyan]{number}. {title}[/]")
        self.console.print(lead, highlight=False)

    def line(self, text: str) -> None:
        """One line of text."""
        self.console.print(text, highlight=False)

    def model(self, card: ModelCard, *, url: str) -> None:
        """The hosted model."""
        self.line(
            f"The service runs at {url}. Model: [bold]{card.id}[/] ({card.architecture}), {card.n_layers} layers of width "
            f"{card.d_model}, {card.n_heads} query heads, {card.n_kv_heads} key/value heads, vocabulary {card.vocab_size}, "
            f"{card.dtype} on {card.device}, weights {card.revision[:12]}…"
        )

    def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """One table per run."""
        for outcome in outcomes:
            self.line(f"\n  {escape(tables.title(outcome))}")
            self.console.print(tables.rich_table(outcome))
        self.line("\n" + tables.LEGEND.replace("*", ""))

    def comparisons(self, by_title: Mapping[str, Sequence[comparison.Row]]) -> None:
        """One table per run, before and after."""
        for title, rows in by_title.items():
            self.line(f"\n  {escape(title)}, before and after")
            self.console.print(comparison.rich_table(rows))
        self.line("\n" + comparison.LEGEND.replace("*", ""))

    def answers(self, answers: Answers, *, question_sets: Sequence[QuestionSet]) -> None:
        """The first question of each set in full, then all scores."""
        for one, by_variant in zip(question_sets, answers.by_question_set, strict=True):
            question = one.questions[0]
            expected = escape(", ".join(question.answers))
            self.line(f"\n  [italic]{escape(question.input)}[/]  (expected: [bold]{expected}[/])")
            table = _table("variant", "answer", "")
            for variant in one.variants:
                answer = by_variant[variant.label][0]
                correct = "[green]correct[/]" if answer.is_correct(question) else ""
                table.add_row(_named(variant), _shown(answer), correct)
            self.console.print(table)
        self.line("")
        self.console.print(_scores(answers, question_sets))
        self.line(
            f"[bold]{answers.n_rows} completions in {answers.n_steps} forwards of the model[/] ({answers.seconds:.1f} s): "
            "rows under all these prompts, and rows without a prompt, shared each forward."
        )

    def states(self, last: LastStates, *, variants: Sequence[Variant], reference: str) -> None:
        """Distance of each variant from the reference variant."""
        table = _table("variant", f"distance at layer {last.layer}")
        for variant in variants:
            table.add_row(variant.label, f"{last.distance(variant.label, reference=reference):.3f}")
        self.console.print(table)

    def trajectory(self, trajectory: Trajectory, *, texts: Sequence[str]) -> None:
        """The end of the question and the generated part of one trajectory, token by token."""
        n_input = int((~trajectory.generated).sum())
        self.line(
            f"\n  [bold]{trajectory.label}[/]: {n_input} input tokens, then generated: {escape(repr(trajectory.text))}"
        )
        table = _table("position", "token", "", "probability", "step length")
        for i in range(max(1, n_input - N_READ_SHOWN), len(texts)):
            generated = bool(trajectory.generated[i])
            probability = f"{math.exp(trajectory.logprobs[i]):.3f}" if generated else ""
            origin = "generated" if generated else "input"
            table.add_row(str(i), escape(repr(texts[i])), origin, probability, f"{trajectory.step_lengths[i]:.1f}")
        self.console.print(table)

    def map(self, fitted: Map, *, placement: Placement) -> None:
        """The quality of each layer of the map, and the result of placing held-out questions."""
        table = _table("layer", "points", "explained variance", "trustworthiness")
        for layer, quality in fitted.quality.items():
            shown = 100 * sum(quality.explained_variance or ())
            trust = "" if quality.trustworthiness is None else f"{quality.trustworthiness:.3f}"
            table.add_row(str(layer), f"{quality.n_points:,}", f"{shown:.0f} %", trust)
        self.console.print(table)
        self.line(
            f"Placed on the map without refitting, at layer {placement.layer}: {placement.n_own} of {placement.n_questions} "
            "held-out questions are nearest to the centre of their own task's texts."
        )

    def verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """One line per run."""
        for verdict in verdicts:
            mark = "[green]✓[/]" if verdict.lifted else "[red]✗[/]"
            self.line(f"{mark} {escape(str(verdict))}")


def _scores(answers: Answers, question_sets: Sequence[QuestionSet]) -> Table:
    table = _table("variant", *(f"correct, {one.title}" for one in question_sets))
    for variant in question_sets[0].variants:
        scores = [
            f"{n_correct(by_variant[variant.label], one.questions)} of {len(one.questions)}"
            for one, by_variant in zip(question_sets, answers.by_question_set, strict=True)
        ]
        table.add_row(variant.label, *scores)
    return table


def _named(variant: Variant) -> str:
    return f"{variant.label} ({variant.prompt})" if isinstance(variant.prompt, str) else variant.label


def _shown(answer: Answer) -> str:
    return escape(answer.text.strip().replace("\n", " ⏎ ")) + ("" if answer.ended else " …")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
