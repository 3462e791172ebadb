"""How good the members are: bare model, draws and tuned vectors, asked together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.engine.prompts.prompt import Prompt
from workers.evaluation.evaluator import Evaluation, Evaluator
from workers.evaluation.example_rows import ExampleRow
from workers.evaluation.summary import Summary
from workers.inputs.limits import engine_limits
from workers.tuning.context import EVAL_SEED, TuningContext
from workers.tuning.initialization import Initialization, NamedMember
from workers.tuning.training.step_report import Outcome

BARE = "bare"
"""Label of the model without a prompt, and the stage of its rows; the others are ``before`` and ``after`` tuning."""


def evaluation_of(job: TuningContext, beginning: Initialization, outcomes: Sequence[Outcome]) -> Evaluation | None:
    """All there is to ask; None if no split has an example."""
    items = [item for split in job.spec.eval.splits for item in job.items(split)]
    if not items:
        job.warn("There are no examples to measure on.")
        return None
    evaluator = Evaluator(
        job.model,
        prompts=_prompts(job, beginning, outcomes),
        metrics=job.spec.eval.metrics,
        limits=engine_limits(job.run.settings),
        max_tokens=job.spec.eval.max_tokens,
        check=job.run.check,
    )
    return Evaluation(evaluator, examples=items)


class Measured:
    """What an evaluation has told of each member."""

    def __init__(self, job: TuningContext, rows: Sequence[ExampleRow]) -> None:
        evaluation = job.spec.eval
        self._rows: dict[str, list[ExampleRow]] = {}
        for row in rows:
            self._rows.setdefault(row.label, []).append(row)
        self._summary = Summary(rows, metrics=evaluation.metrics, samples=evaluation.samples, seed=EVAL_SEED)

    def metrics(self, member: NamedMember) -> dict[str, float]:
        """``{split}/{metric}``, ``draw/…`` before tuning, ``bare/…`` without a prompt, with bounds of intervals."""
        return {
            **self._summary.flat(_after(member)),
            **self._summary.flat(_before(member), prefix="draw/"),
            **self._summary.flat(BARE, prefix="bare/"),
        }

    def bare_lines(self) -> list[dict[str, Any]]:
        """Rows of the bare model, as published."""
        return [row.to_json(prompt=None, member=None, stage=BARE) for row in self._rows.get(BARE, ())]

    def lines(self, member: NamedMember, *, ref: str) -> list[dict[str, Any]]:
        """Rows of a member's draw and of its tuned vectors, as published."""
        stages = {"before": _before(member), "after": _after(member)}
        return [
            row.to_json(prompt=ref, member=member.name, stage=stage)
            for stage, label in stages.items()
            for row in self._rows.get(label, ())
        ]


def _prompts(job: TuningContext, beginning: Initialization, outcomes: Sequence[Outcome]) -> Mapping[str, Prompt | None]:
    pairs = list(zip(job.members, outcomes, strict=True))
    return {
        BARE: None,
        **{_before(member): job.prompt(beginning.draws[member.draw]) for member, _ in pairs},
        **{_after(member): job.prompt(outcome.tensors) for member, outcome in pairs},
    }


def _before(member: NamedMember) -> str:
    """Members of several rates share a draw, which is asked once."""
    return f"before {member.draw}"


def _after(member: NamedMember) -> str:
    return f"after {member.name}"
