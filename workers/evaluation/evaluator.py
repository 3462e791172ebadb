"""Evaluator of prompts on examples: answers, scores and losses, in chunks so that a run can stop and resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from promptatlas.types.tuning import AnswerSampling, Metric

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Limits
from workers.evaluation.answer_metrics import ANSWER_METRICS
from workers.evaluation.answer_sampling import AnswerSampler, SampledAnswers
from workers.evaluation.example_rows import ExampleRow, finite, load_rows, save_rows
from workers.evaluation.generation import GenerationInput, Output, TextGenerator
from workers.evaluation.losses import Loss, LossScorer, Target
from workers.inputs.examples import EvalExample, longest_target

ROWS_PER_CHUNK = 512

TOKEN_COUNTS = ("n_generated", "n_forward", "cut")
"""Generated tokens; these, the input and the virtual positions; whether the limit ended the answer."""

LOSS_METRICS = ("loss", "perplexity")


class Evaluator:
    """Evaluates one model under a fixed set of prompts.

    Args:
        prompts: By label; None is the bare model.
        metrics: Answers are generated, and losses computed, only if some metric needs them.
        max_tokens: Limit for an answer; None: the length of the longest target.
        check: Called before every forward; its exceptions propagate.
        counts_tokens: Whether rows of generated answers have the scores of ``TOKEN_COUNTS``.
        sampling: Sampled answers of each example, in addition to the greedy one. seed: of these.
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
        counts_tokens: bool = False,
        sampling: AnswerSampling | None = None,
        seed: int = 0,
    ) -> None:
        self._counts_tokens = counts_tokens
        self._prompts = dict(prompts)
        self._scored = [metric for metric in metrics if metric in ANSWER_METRICS]
        self._wants_loss = any(metric in LOSS_METRICS for metric in metrics)
        self._max_tokens = max_tokens
        self._n_positions = model.n_positions
        self._generator = TextGenerator(model, prompts=self._prompts, limits=limits, check=check)
        self._sampler = None if sampling is None else AnswerSampler(sampling, seed=seed)
        self._scorer = LossScorer(model, prompts=self._prompts, limits=limits, check=check)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._prompts)

    def rows(self, examples: Sequence[EvalExample], *, max_tokens: int | None = None) -> list[ExampleRow]:
        """Evaluate every example under every prompt; rows are grouped by example.

        Args:
            max_tokens: Limit for an answer if the evaluator has none; None: the length of the longest target.
        """
        pairs = [(label, example) for example in examples for label in self._prompts]
        limit = self._max_tokens or max_tokens or longest_target(examples)
        outputs = self._outputs(pairs, max_tokens=limit)
        samples = self._samples(pairs, max_tokens=limit)
        losses = self._losses(pairs)
        return [
            self._row(*pair, output=output, samples=sampled, loss=loss)
            for pair, output, sampled, loss in zip(pairs, outputs, samples, losses, strict=True)
        ]

    def _outputs(self, pairs: Sequence[tuple[str, EvalExample]], *, max_tokens: int) -> list[Output | None]:
        answerable = [i for i, (_, example) in enumerate(pairs) if self._scored and example.has_answers]
        inputs = [self._generation_input(*pairs[i], max_tokens=max_tokens) for i in answerable]
        found = dict(zip(answerable, self._generator.generate(inputs), strict=True))
        return [found.get(i) for i in range(len(pairs))]

    def _samples(self, pairs: Sequence[tuple[str, EvalExample]], *, max_tokens: int) -> list[SampledAnswers | None]:
        sampler = self._sampler
        if sampler is None:
            return [None] * len(pairs)
        answerable = [i for i, (_, example) in enumerate(pairs) if example.has_answers]
        inputs = [
            one
            for i in answerable
            for one in sampler.inputs(self._generation_input(*pairs[i], max_tokens=max_tokens), example=pairs[i][1])
        ]
        texts = [output.text for output in self._generator.generate(inputs)]
        found = {
            i: sampler.measured(texts[k * sampler.n : (k + 1) * sampler.n], example=pairs[i][1])
            for k, i in enumerate(answerable)
        }
        return [found.get(i) for i in range(len(pairs))]

    def _generation_input(self, label: str, example: EvalExample, *, max_tokens: int) -> GenerationInput:
        prompt, ids = self._prompts[label], example.encoded.input_ids
        n_left = self._n_positions - len(ids) - (prompt.n_virtual if prompt is not None else 0)
        return GenerationInput(label=label, ids=ids, max_tokens=max(1, min(max_tokens, n_left)))

    def _losses(self, pairs: Sequence[tuple[str, EvalExample]]) -> list[Loss] | list[None]:
        if not self._wants_loss:
            return [None] * len(pairs)
        return self._scorer.losses([Target(label=label, encoded=example.encoded) for label, example in pairs])

    def _row(
        self,
        label: str,
        example: EvalExample,
        *,
        output: Output | None,
        samples: SampledAnswers | None,
        loss: Loss | None,
    ) -> ExampleRow:
        scores: dict[str, float] = {}
        if output is not None:
            scores = {name: ANSWER_METRICS[name](output.text, example.answers) for name in self._scored}
            if self._counts_tokens:
                scores |= self._token_counts(label, example, output)
        if samples is not None:
            scores = {**scores, **samples.measures}
        return ExampleRow(
            label=label,
            split=example.split,
            index=example.index,
            input=example.input,
            answers=example.answers,
            output=output.text if output is not None else None,
            finish_reason=output.finish_reason if output is not None else None,
            scores=scores,
            samples=samples.texts if samples is not None else (),
            loss=finite(loss.per_token) if loss is not None else None,
            n_tokens=len(example.encoded.target_ids),
        )

    def _token_counts(self, label: str, example: EvalExample, output: Output) -> dict[str, float]:
        prompt = self._prompts[label]
        n_virtual = prompt.n_virtual if prompt is not None else 0
        n_forward = n_virtual + len(example.encoded.input_ids) + output.n_generated
        counts = (output.n_generated, n_forward, output.finish_reason == "length")
        return dict(zip(TOKEN_COUNTS, map(float, counts), strict=True))


class RowEvaluator(Protocol):
    """Evaluates examples under a fixed set of prompts, as Evaluator does."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the rows of each example."""

    def rows(self, examples: Sequence[EvalExample], *, max_tokens: int | None = None) -> list[ExampleRow]:
        """One row for each label and example, grouped by example. max_tokens: limit for an answer, if there is no other."""


class Evaluation:
    """One evaluation in chunks. Chunks are independent, so stopping between them does not change the rows."""

    def __init__(
        self, evaluator: RowEvaluator, *, examples: Sequence[EvalExample], rows_per_chunk: int | None = None
    ) -> None:
        self._evaluator = evaluator
        self._examples = list(examples)
        self._examples_per_chunk = max(1, (rows_per_chunk or ROWS_PER_CHUNK) // len(evaluator.labels))
        self._max_tokens = longest_target(self._examples)
        self.rows: list[ExampleRow] = []

    @property
    def n_total(self) -> int:
        """Number of rows of the finished evaluation."""
        return len(self._examples) * len(self._evaluator.labels)

    @property
    def finished(self) -> bool:
        return len(self.rows) >= self.n_total

    def step(self) -> None:
        """Evaluate the next chunk; if this raises, no row is added."""
        first = len(self.rows) // len(self._evaluator.labels)
        chunk = self._examples[first : first + self._examples_per_chunk]
        self.rows += self._evaluator.rows(chunk, max_tokens=self._max_tokens)

    def state(self) -> bytes:
        """Checkpoint for ``load``."""
        return save_rows(self.rows)

    def load(self, data: bytes) -> None:
        """Resume from a ``state`` of the same prompts and examples."""
        self.rows = load_rows(data)
