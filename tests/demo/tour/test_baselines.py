"""The evaluation of the instructed model: its spec, validated by the wire types, and its metrics."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from promptatlas.types import EvaluateSpec, Template
from rich.console import Console

from demo.tour import progress
from demo.tour.baselines import evaluate_baselines, spec_of
from demo.tour.report.printing import Printer
from demo.tour.report.verdict import AccuracyRule
from demo.tour.tour import Leads, Mapped, Task, Tour
from tests.demo.tour.members import job

TEMPLATE = Template(input="Q: {question}\nA:", target=" {answer}")


def task(**changes: object) -> Task:
    fields = {"title": "sums", "dataset": "d", "reference": "instructed", "frame": lambda chat: chat("Go.\n{input}")}
    return Task(**{**fields, "target": "{answer}", **changes})  # type: ignore[arg-type]


def chat(message: str) -> str:
    return f"<{{user}}>{message}<bot>"


def test_the_input_of_the_dataset_is_inside_the_chat() -> None:
    one = job(eval={"every": 5, "n": 7, "max_tokens": 9}, also=("f1",))
    spec = EvaluateSpec.model_validate(spec_of(task(), job=one, model="m", chat=chat, template=TEMPLATE))
    assert spec.template is not None
    # Braces of the chat template are literal.
    assert spec.template.input == "<{{user}}>Go.\nQ: {question}\nA:<bot>"
    assert spec.template.target == "{answer}"
    assert spec.prompts == [None]
    assert (spec.n, spec.max_tokens, spec.seed) == (7, 9, 0)
    assert spec.metrics == ["exact_match", "f1", "loss"]


def test_a_dataset_without_a_template_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a dataset with a template"):
        spec_of(task(), job=job(), model="m", chat=chat, template=None)


def tour(*tasks: Task) -> Tour:
    jobs = (job(format="number"),)
    leads = Leads(tuning="", serving="")
    return Tour(
        model="m",
        path=Path("m"),
        tasks=tasks,
        jobs=jobs,
        rule=AccuracyRule(),
        leads=leads,
        mapped=Mapped(layers=(0,)),
    )


def client(outcome: dict[str, float], rows: list[dict[str, object]]) -> Any:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    run = SimpleNamespace(
        id="r",
        name="sums, instructed",
        status="succeeded",
        ended=True,
        prompts=[],
        outcome=outcome,
        read=lambda path: text,
    )
    run.refresh = lambda: run
    run.wait = lambda progress: None
    run.progress = SimpleNamespace(step=0, total=None)
    run.info = SimpleNamespace(started_at=None, ended_at=None)
    return SimpleNamespace(
        runs=SimpleNamespace(create=lambda kind, spec, name: run),
        datasets=SimpleNamespace(get=lambda name: SimpleNamespace(template=TEMPLATE)),
    )


def test_metrics_by_dataset_with_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "POLL_S", 0)
    file = io.StringIO()
    rows: list[dict[str, object]] = [
        {"output": text, "finish_reason": "stop", "input": "", "split": "test"}
        for text in ("5", "It is 5", "-1.5", "x")
    ]
    found = evaluate_baselines(
        client({"bare/test/loss": 2.5}, rows), tour(task()), chat=chat, printer=Printer(Console(file=file))
    )
    assert found == {"d": {"bare/test/loss": 2.5, "bare/test/format": 0.5}}
    assert file.getvalue() == "  sums, instructed: 0 s\n"


def test_a_task_without_a_target_is_not_evaluated() -> None:
    assert evaluate_baselines(client({}, []), tour(task(target=None)), chat=chat, printer=Printer(Console())) == {}
