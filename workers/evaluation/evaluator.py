"""All prompts × all examples: answers, their scores, and losses, in chunks that a run can stop and go on between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from promptatlas.types.tuning import Metric

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Limits
from workers.evaluation import answer_metrics as answers
from workers.evaluation.example_rows import ExampleRow, finite, load_rows, save_rows
from workers.evaluation.generation import AnswerGenerator, Output, Question
from workers.evaluation.items import Item, longest_target
from workers.evaluation.losses import Loss, Scorer, Target
from workers.evaluation.numeric_match import numeric_match

ROWS_PER_CHUNK = 512

ANSWER_METRICS: Mapping[str, Callable[[str, Sequence[str]], float]] = {
    "exact_match": answers.exact_match,
    "f1": answers.f1,
    "precision": answers.precision,
    "recall": answers.recall,
    "accuracy": answers.accuracy,
    "numeric_match": numeric_match,
}
"""Metric → its score of an output against the answers that count as right."""

LOSS_METRICS = ("loss", "perplexity")


class Evaluator:
    """Asks one model under a fixed set of prompts.

    Args:
        prompts: by label; None is the bare model.
        metrics: those without need of answers, or of losses, save making them.
        max_tokens: generated for an answer; None: as the longest target has.
        check: called before every forward; what it raises passes through.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        prompts: Mapping[str, Prompt | None],
        metrics: Sequence[Metric],
        limits: Limits,
        max_tokens: int | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._prompts = dict(prompts)
        self._scored = [metric for metric in metrics if metric in ANSWER_METRICS]
        self._wants_loss = any(metric in LOSS_METRICS for metric in metrics)
        self._max_tokens = max_tokens
        self._n_positions = model.n_positions
        self._asker = AnswerGenerator(model, prompts=self._prompts, limits=limits, check=check)
        self._scorer = Scorer(model, prompts=self._prompts, limits=limits, check=check)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._prompts)

    @property
    def max_virtual(self) -> int:
        """Positions that the longest prompt takes."""
        return max((p.n_virtual for p in self._prompts.values() if p is not None), default=0)

    def rows(self, items: Sequence[Item], *, max_tokens: int | None = None) -> list[ExampleRow]:
        """Rows of every item under every prompt, item by item.

        Args:
            max_tokens: generated for an answer, where neither this nor the evaluator's own says it: the longest target.
        """
        pairs = [(label, item) for item in items for label in self._prompts]
        wanted = self._max_tokens or max_tokens or longest_target(items)
        outputs = self._outputs(pairs, max_tokens=wanted)
        losses = self._losses(pairs)
        return [
            self._row(*pair, output=output, loss=loss)
            for pair, output, loss in zip(pairs, outputs, losses, strict=True)
        ]

    def _outputs(self, pairs: Sequence[tuple[str, Item]], *, max_tokens: int) -> list[Output | None]:
        asked = [i for i, (_, item) in enumerate(pairs) if self._scored and item.is_asked]
        questions = [self._question(*pairs[i], max_tokens=max_tokens) for i in asked]
        found = dict(zip(asked, self._asker.ask(questions), strict=True))
        return [found.get(i) for i in range(len(pairs))]

    def _question(self, label: str, item: Item, *, max_tokens: int) -> Question:
        prompt, ids = self._prompts[label], item.encoded.input_ids
        n_left = self._n_positions - len(ids) - (prompt.n_virtual if prompt is not None else 0)
        return Question(label=label, ids=ids, max_tokens=max(1, min(max_tokens, n_left)))

    def _losses(self, pairs: Sequence[tuple[str, Item]]) -> list[Loss] | list[None]:
        if not self._wants_loss:
            return [None] * len(pairs)
        return self._scorer.losses([Target(label=label, encoded=item.encoded) for label, item in pairs])

    def _row(self, label: str, item: Item, *, output: Output | None, loss: Loss | None) -> ExampleRow:
        scores: dict[str, float] = {}
        if output is not None:
            scores = {name: ANSWER_METRICS[name](output.text, item.answers) for name in self._scored}
        return ExampleRow(
            label=label,
            split=item.split,
            index=item.index,
            input=item.input,
            answers=item.answers,
            output=output.text if output is not None else None,
            finish_reason=output.finish_reason if output is not None else None,
            scores=scores,
            loss=finite(loss.per_token) if loss is not None else None,
            n_tokens=len(item.encoded.target_ids),
        )


class Evaluation:
    """One evaluation in chunks; a chunk's numbers do not depend on what came before it, so stopping changes nothing."""

    def __init__(self, evaluator: Evaluator, *, items: Sequence[Item], rows_per_chunk: int | None = None) -> None:
        self._evaluator = evaluator
        self._items = list(items)
        self._items_per_chunk = max(1, (rows_per_chunk or ROWS_PER_CHUNK) // len(evaluator.labels))
        self._max_tokens = longest_target(self._items)
        self.rows: list[ExampleRow] = []

    @property
    def n_total(self) -> int:
        """Rows when it is done."""
        return len(self._items) * len(self._evaluator.labels)

    @property
    def finished(self) -> bool:
        return len(self.rows) >= self.n_total

    def step(self) -> None:
        """One more chunk, whole or not at all."""
        first = len(self.rows) // len(self._evaluator.labels)
        chunk = self._items[first : first + self._items_per_chunk]
        self.rows += self._evaluator.rows(chunk, max_tokens=self._max_tokens)

    def state(self) -> bytes:
        """What ``load`` goes on from."""
        return save_rows(self.rows)

    def load(self, data: bytes) -> None:
        """Go on from a ``state`` of the same prompts and items."""
        self.rows = load_rows(data)
