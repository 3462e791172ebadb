"""What the demo prints: every number in it comes from the service that has just been asked."""

import math
from collections.abc import Sequence
from typing import Final

from promptatlas.types import ModelCard, PromptManifest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.tasks import Example
from demo.tour.asking import Answer, Answers, Way
from demo.tour.making import MadePrompt
from demo.tour.states import LastStates, Walk

N_READ_SHOWN: Final = 3
"""Tokens of the question that stand in front of a trajectory's written ones."""


class Teller:
    """Prints the stops of the tour."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def heading(self, number: int, title: str, *, lead: str) -> None:
        """A stop, and in a sentence or two what is about to be seen."""
        self._console.print(f"\n[bold cyan]{number}. {title}[/]")
        self._console.print(lead, highlight=False)

    def line(self, text: str) -> None:
        """A plain line."""
        self._console.print(text, highlight=False)

    def model(self, card: ModelCard, *, url: str) -> None:
        """The hosted model."""
        self.line(
            f"The service answers at {url}. Hosted: [bold]{card.id}[/] ({card.architecture}), {card.n_layers} layers of width "
            f"{card.d_model}, {card.n_heads} heads on {card.n_kv_heads} key heads, vocabulary {card.vocab_size}, "
            f"{card.dtype} on {card.device}, weights {card.revision[:12]}…"
        )

    def prompts(self, made: Sequence[MadePrompt], *, stored: Sequence[PromptManifest]) -> None:
        """What was uploaded."""
        table = _table("prompt", "kind", "vectors", "layers", "content", "what it is")
        for prompt, manifest in zip(made, stored, strict=True):
            kind = f"{manifest.kind}, {manifest.where}" if manifest.where else manifest.kind
            layers = ", ".join(map(str, manifest.layers)) if manifest.kind == "deep" and manifest.layers else "all"
            reference = f"{manifest.name}@{manifest.version}"
            content = f"{manifest.sha256.removeprefix('sha256:')[:8]}…"
            table.add_row(reference, kind, str(manifest.n_virtual), layers, content, prompt.meaning)
        self._console.print(table)

    def answers(self, answers: Answers, *, ways: Sequence[Way], examples: Sequence[Example], n_shown: int) -> None:
        """A few questions in full, then the score of all."""
        for index, example in enumerate(examples[:n_shown]):
            self.line(f"\n  [italic]{escape(example.input)}[/]  (wanted: [bold]{escape(example.answer)}[/])")
            table = _table("asked", "answer", "")
            for way in ways:
                answer = answers.by_way[way.label][index]
                table.add_row(way.label, _shown(answer), "[green]right[/]" if answer.is_right(example) else "")
            self._console.print(table)
        self.line("")
        score = _table("asked", "right", "same answers as with the header typed")
        for way in ways:
            same = _n_same(answers.by_way[way.label], answers.by_way["header typed"])
            right = answers.n_right(way.label, examples=examples)
            score.add_row(way.label, f"{right} of {len(examples)}", f"{same} of {len(examples)}")
        self._console.print(score)
        self.line(
            f"[bold]{answers.n_rows} completions in {answers.n_steps} forwards of the model[/] ({answers.seconds:.1f} s): "
            "rows of all these prompts, and of none, went through it side by side."
        )

    def states(self, last: LastStates, *, ways: Sequence[Way]) -> None:
        """How near each way comes to the header typed as text."""
        table = _table("asked", f"distance at layer {last.layer}")
        for way in ways:
            table.add_row(way.label, f"{last.distance(way.label, reference='header typed'):.4f}")
        self._console.print(table)

    def walk(self, walk: Walk, *, texts: Sequence[str]) -> None:
        """The end of the question and the written part of one trajectory, token by token."""
        n_input = int((~walk.generated).sum())
        self.line(f"\n  asked [bold]{walk.label}[/]: {n_input} tokens read, then written: {escape(repr(walk.text))}")
        table = _table("position", "token", "", "its probability", "step of the state")
        for i in range(max(1, n_input - N_READ_SHOWN), len(texts)):
            written = bool(walk.generated[i])
            probability = f"{math.exp(walk.logprobs[i]):.3f}" if written else ""
            does = "written" if written else "read"
            table.add_row(str(i), escape(repr(texts[i])), does, probability, f"{walk.step_lengths[i]:.1f}")
        self._console.print(table)


def _n_same(some: Sequence[Answer], others: Sequence[Answer]) -> int:
    return sum(one == other for one, other in zip(some, others, strict=True))


def _shown(answer: Answer) -> str:
    return escape(answer.text.strip().replace("\n", " ⏎ ")) + ("" if answer.ended else " …")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
