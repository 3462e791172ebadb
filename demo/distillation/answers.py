"""Answers of runs, counted alike for all kinds of runs: whether each is right, and its number of tokens."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from promptatlas import Run

from demo.distillation.jobs import Job
from demo.distillation.record import Answers

CountTokens = Callable[[str], int]
Row = Mapping[str, Any]

STAGES = ("before", "after")


def is_right(row: Row) -> bool:
    """Whether an answer has ended, and its last word is the correct result: the rule of ``Example.is_answered_by``."""
    if row["finish_reason"] != "stop":
        return False
    return re.split(r"[; ]", str(row["output"]).strip())[-1] in row["answers"]


def n_generated(row: Row, *, count: CountTokens) -> int:
    """Tokens of an answer, with its end of text."""
    return count(str(row["output"])) + int(row["finish_reason"] == "stop")


def read_answers(run: Run, *, job: Job, count: CountTokens) -> list[Answers]:
    """The answers of an evaluation, with each prompt in ``prior``, or of all members of a training before and after it."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for line in run.read("evaluation.jsonl").splitlines():
        row = json.loads(line)
        stage = row.get("stage", "context")
        rows.setdefault((row.get("member") or row.get("prompt") or "", stage), []).append(row)
    if job.kind == "evaluate":
        return [_answers(found, job=job, stage=stage, count=count, prior=ref) for (ref, stage), found in rows.items()]
    members = json.loads(run.read("members.json"))
    return [
        _answers(
            rows[member["name"], stage],
            job=job,
            stage=stage,
            count=count,
            prior=label,
            member=member,
        )
        for label, member in zip(labels_of(job, n=len(members)), members, strict=True)
        for stage in STAGES
    ]


def labels_of(job: Job, *, n: int) -> Sequence[str]:
    """The prior of each of n members: priors are the outermost loop."""
    each = n // len(job.priors)
    return [label for label in job.priors for _ in range(each)]


def _answers(
    rows: Iterable[Row], *, job: Job, stage: str, count: CountTokens, prior: str = "", member: Row | None = None
) -> Answers:
    found = sorted(rows, key=lambda row: int(row["index"]))
    return Answers(
        run=job.name,
        group=str(job.facts["group"]),
        method=str(job.facts.get("method", "")),
        what=str(job.facts.get("what", "")),
        prior=prior,
        seed=int(member["seed"]) if member is not None else 0,
        rate=float(member["lr"]) if member is not None else 0.0,
        stage=stage,
        # The kept vectors may be those of an earlier step: what matters is how many steps were spent.
        step=int(job.spec["optimizer"]["steps"]) if stage == "after" else 0,
        right=[int(is_right(row)) for row in found],
        n_tokens=[n_generated(row, count=count) for row in found],
        loss=None if member is None or stage != "after" else member["metrics"].get("validation/loss"),
    )
