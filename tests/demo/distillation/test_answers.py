"""Answers: the rule of the corpus, and the rows of members by prior, seed and stage."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from promptatlas import Run

from demo.distillation.answers import is_right, n_generated, read_answers
from demo.distillation.jobs import Job
from demo.tasks import examples

JOB = Job(
    name="student",
    kind="distill",
    spec={"optimizer": {"steps": 7}},
    priors=("isotropic", "steps"),
    facts={"group": "student", "method": "soft", "what": "all steps"},
)


def row(output: str, *, answer: str = "4", finish: str = "stop", **fields: Any) -> dict[str, Any]:
    return {"output": output, "answers": [answer], "finish_reason": finish, "index": 0, **fields}


class FakeRun:
    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def read(self, path: str) -> bytes:
        return self._files[path]


@pytest.mark.parametrize(
    "output", [" Mira Hugo; Hugo", "Hugo", " Mira Hugo", " Hugo;", " Hugo and more", " Hugo Mira", "", " Hugo."]
)
def test_an_answer_is_right_by_the_rule_of_the_corpus(output: str) -> None:
    example = next(one for one in examples("chain-cot", split="test", n=200) if one.answer == "Hugo")
    assert is_right(row(output, answer="Hugo")) == example.is_answered_by(output)
    assert not is_right(row(output, answer="Hugo", finish="length"))


def test_the_end_of_text_counts_as_a_token() -> None:
    assert n_generated(row("a b c"), count=lambda text: len(text.split())) == 4
    assert n_generated(row("a b c", finish="length"), count=lambda text: len(text.split())) == 3


def test_members_have_their_prior_seed_and_stage() -> None:
    members = [
        {"name": f"m-{prior}-{seed}", "seed": seed, "lr": 0.1, "step": 5, "metrics": {"validation/loss": 0.5 + seed}}
        for prior in JOB.priors
        for seed in (0, 1)
    ]
    rows = [
        row("4" if index < n_right else "5", member=member["name"], stage=stage, index=index)
        for n_right, member in enumerate(members)
        for stage in ("before", "after")
        for index in (3, 2, 1, 0)
    ]
    lines = "\n".join(map(json.dumps, [*rows, row("4", stage="bare"), row("4", stage="teacher")])).encode()
    run = cast(Run, FakeRun({"evaluation.jsonl": lines, "members.json": json.dumps(members).encode()}))
    found = read_answers(run, job=JOB, count=len)
    assert [(one.prior, one.seed, one.stage, one.step) for one in found] == [
        (prior, seed, stage, 7 if stage == "after" else 0)
        for prior in JOB.priors
        for seed in (0, 1)
        for stage in ("before", "after")
    ]
    assert [one.right for one in found[::2]] == [[0] * 4, [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert [one.loss for one in found] == [None, 0.5, None, 1.5] * 2


def test_prompts_of_an_evaluation_are_kept_apart() -> None:
    rows = [row("4", prompt=ref, index=i) for ref in ("a@1", "b@1") for i in (1, 0)] + [row("5", prompt=None)]
    run = cast(Run, FakeRun({"evaluation.jsonl": "\n".join(map(json.dumps, rows)).encode()}))
    job = Job(name="e", kind="evaluate", spec={}, facts={"group": "context", "what": "bare"})
    found = read_answers(run, job=job, count=len)
    assert {one.prior: one.right for one in found} == {"a@1": [1, 1], "b@1": [1, 1], "": [0]}
