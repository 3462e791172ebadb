"""Evaluation of a run's members: bare model, draws and tuned vectors, evaluated together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.engine.prompts.prompt import Prompt
from workers.evaluation.evaluator import Evaluation
from workers.evaluation.example_rows import ExampleRow
from workers.evaluation.summary import Summary
from workers.tuning.context import EVAL_SEED, TuningContext
from workers.tuning.initialization import Initialization, RunMember
from workers.tuning.training.step_report import Outcome

BARE = "bare"
"""Label and stage of the rows of the model without a prompt. The other stages are ``before`` and ``after`` tuning."""

TEACHER = "teacher"
"""Label and stage of the rows of a teacher, if the run evaluates one."""


def evaluation_of(
    context: TuningContext, initialization: Initialization, outcomes: Sequence[Outcome]
) -> Evaluation | None:
    """The evaluation of all members; None if no requested split has examples."""
    items = [item for split in context.spec.eval.splits for item in context.items(split)]
    if not items:
        context.warn("None of the evaluation splits has examples, so nothing is evaluated.")
        return None
    items += context.other_items()
    return Evaluation(context.evaluator(_prompts(context, initialization, outcomes)), examples=items)


class MemberResults:
    """Metrics and rows of an evaluation, by member."""

    def __init__(self, context: TuningContext, rows: Sequence[ExampleRow]) -> None:
        evaluation = context.spec.eval
        self._rows: dict[str, list[ExampleRow]] = {}
        for row in rows:
            self._rows.setdefault(row.label, []).append(row)
        self._summary = Summary(rows, metrics=context.metrics, samples=evaluation.samples, seed=EVAL_SEED)

    def metrics(self, member: RunMember) -> dict[str, float]:
        """Metrics and interval bounds: ``{split}/{metric}``, ``draw/…`` before tuning, ``bare/…`` without a prompt, and
        ``teacher/…``."""
        return {
            **self._summary.flat(_after(member)),
            **self._summary.flat(_before(member), prefix="draw/"),
            **self._summary.flat(BARE, prefix="bare/"),
            **self._summary.flat(TEACHER, prefix="teacher/"),
        }

    def reference_lines(self) -> list[dict[str, Any]]:
        """Rows of the bare model and of a teacher, as in ``evaluation.jsonl``."""
        return [
            row.to_json(prompt=None, member=None, stage=label)
            for label in (BARE, TEACHER)
            for row in self._rows.get(label, ())
        ]

    def lines(self, member: RunMember, *, ref: str) -> list[dict[str, Any]]:
        """Rows of a member's draw and of its tuned vectors, as in ``evaluation.jsonl``."""
        stages = {"before": _before(member), "after": _after(member)}
        return [
            row.to_json(prompt=ref, member=member.name, stage=stage)
            for stage, label in stages.items()
            for row in self._rows.get(label, ())
        ]


def _prompts(
    context: TuningContext, initialization: Initialization, outcomes: Sequence[Outcome]
) -> Mapping[str, Prompt | None]:
    pairs = list(zip(context.members, outcomes, strict=True))
    return {
        BARE: None,
        **{_before(member): context.prompt(initialization.draws[member.draw]) for member, _ in pairs},
        **{_after(member): context.prompt(outcome.tensors) for member, outcome in pairs},
    }


def _before(member: RunMember) -> str:
    """Label of a member's draw. Members that differ only in rate share a draw, which is evaluated once."""
    return f"before {member.draw}"


def _after(member: RunMember) -> str:
    return f"after {member.name}"
