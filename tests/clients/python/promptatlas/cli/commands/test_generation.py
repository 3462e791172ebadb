"""``promptatlas generate``."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from promptatlas.types import GenerateSpec

from tests.clients.python.promptatlas.cli.conftest import Run
from tests.clients.python.promptatlas.fake_runs import ID, info
from tests.clients.python.promptatlas.fake_server import FakeServer, reply


def test_starting(run: Run, server: FakeServer) -> None:
    server.will(reply(info(kind="generate"), status=202))
    options = "-n 4 --items 50 --split train -p qa@2 -p qa@3 --shots 2 -t 0.5 --max-tokens 32 --seed 7 --logprobs 8"
    more = "--answer last_number --keep correct --dedupe --set top_p=0.9 --name chains"
    shown = run("generate", "demo", "demo-arithmetic-cot", "sums", *options.split(), *more.split())
    assert shown.output == f"{ID} generate queued, 2 before it\n"
    assert server.sent["name"] == "chains"
    wanted = {
        "model": "demo",
        "dataset": "demo-arithmetic-cot",
        "name": "sums",
        "n": 4,
        "n_items": 50,
        "split": "train",
        "prompt_refs": ["qa@2", "qa@3"],
        "context": {"shots": 2},
        "temperature": 0.5,
        "max_tokens": 32,
        "seed": 7,
        "logprobs": 8,
        "answer": {"find": "last_number"},
        "keep": "correct",
        "dedupe": True,
        "top_p": 0.9,
    }
    assert server.sent["spec"] == wanted


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ("whole", "whole"),
        ("after:####", {"find": "after", "after": "####"}),
        ("pattern:is: (.*)", {"find": "pattern", "pattern": "is: (.*)"}),
    ],
)
def test_rules_of_answers(run: Run, server: FakeServer, given: str, rule: object) -> None:
    server.will(reply(info(kind="generate"), status=202))
    run("generate", "big", "demo-qa", "made", "--teacher", "outside", "--context", "Think. ", "--answer", given)
    wanted = {"model": "big", "dataset": "demo-qa", "name": "made", "teacher": "outside", "context": "Think. "}
    assert server.sent["spec"] == {**wanted, "answer": rule}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--answer", "after:"], "expected whole, last_number"),
        (["--answer", "first"], 'got "first"'),
        (
            ["--context", "a", "--shots", "2"],
            "expected one of --context, --shots, --context-field, got --context and --shots",
        ),
    ],
)
def test_what_is_wrong(run: Run, server: FakeServer, options: list[str], reason: str) -> None:
    shown = run("generate", "demo", "demo-qa", "made", *options)
    assert shown.exit_code == 2
    assert reason in " ".join(shown.output.replace("│", " ").split())
    assert server.requests == []


def test_a_field_as_the_context(run: Run, server: FakeServer) -> None:
    server.will(reply(info(kind="generate"), status=202))
    run("generate", "demo", "chunks", "answers", "--context-field", "chunk")
    assert server.sent["spec"]["context"] == {"field": "chunk"}


def test_the_command_in_the_documentation(run: Run, server: FakeServer) -> None:
    page = Path(__file__).parents[6] / "docs" / "traces.md"
    [line] = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("promptatlas generate")]
    server.will(reply(info(kind="generate"), status=202))
    shown = run(*shlex.split(line.removesuffix(" --watch"))[1:])
    assert shown.exit_code == 0, shown.output
    GenerateSpec.model_validate(server.sent["spec"])
