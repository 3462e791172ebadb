"""The kind ``evaluate`` on a run kept in memory, with a real store of prompts and a small model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from service.engine.requests import Limits
from service.errors import InvalidRequest, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.items import Example
from service.store.prompts.checks import BaseShape
from service.store.prompts.native_format import PromptFile, make_prompt
from service.store.prompts.store import PromptStore
from tests.service.engine.contract import World
from tests.workers.evaluation.fake_run import FakeDatasets, FakeRun, Killed
from tests.workers.evaluation.test_evaluator import examples
from workers.evaluation import evaluator
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.run import evaluate
from workers.inputs.examples import eval_examples
from workers.running.interface import RunStopped

SPEC: Mapping[str, Any] = {
    "model": "small",
    "prompts": ["soft", None, "deep@1"],
    "dataset": "words",
    "metrics": ["exact_match", "f1", "loss", "perplexity"],
    "samples": 200,
}


def file_of(world: World, kind: str, *, base: str = "small") -> PromptFile:
    card, prompt = world.hosted.card, world.prompts[kind]
    shape = BaseShape(
        name=base,
        revision=card.revision,
        n_layers=card.n_layers,
        d_model=card.d_model,
        n_kv_heads=card.n_kv_heads,
        d_head=card.d_head,
        n_positions=card.n_positions,
    )
    tensors = {name: tensor.numpy() for name, tensor in prompt.tensors.items()}
    return make_prompt(prompt.kind, tensors=tensors, base=shape, where=prompt.where)


@pytest.fixture
def run(llama: World, tmp_path: Path) -> FakeRun:
    artifacts = ArtifactStore(str(tmp_path))
    store = PromptStore(artifacts)
    store.create("soft", prompt=file_of(llama, "soft-short"))
    store.create("soft", prompt=file_of(llama, "soft"))
    store.create("deep", prompt=file_of(llama, "deep-carried"))
    datasets = FakeDatasets({"words": {"test": examples()}})
    return FakeRun(SPEC, {"small": llama.hosted}, artifacts, datasets)


def lines(run: FakeRun) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.outputs["evaluation.jsonl"].decode().splitlines()]


def test_every_prompt_is_asked_every_example(run: FakeRun, llama: World) -> None:
    metrics = evaluate(run)
    rows = lines(run)
    assert {row["prompt"] for row in rows} == {"soft@2", None, "deep@1"}
    assert len(rows) == 3 * len(examples())
    items, _ = eval_examples(llama.hosted, examples(), max_tokens=100)
    prompts = {"soft@2": llama.load_prompt("soft"), "bare": None, "deep@1": llama.load_prompt("deep-carried")}
    direct = Evaluator(llama.hosted, prompts=prompts, metrics=("f1", "loss"), limits=Limits()).rows(items)
    assert [row["output"] for row in rows] == [row.output for row in direct]
    f1s = [row["f1"] for row in rows if row["prompt"] == "deep@1"]
    assert metrics["deep@1/test/f1"] == pytest.approx(sum(f1s) / len(f1s))
    table = json.loads(run.outputs["summary.json"])
    assert table["bare"]["test/loss"]["value"] == metrics["bare/test/loss"]
    assert table["bare"]["test/loss"]["low"] == metrics["bare/test/loss_low"] < metrics["bare/test/loss_high"]
    assert json.loads(run.outputs["spec.json"]) == SPEC
    assert run.steps[-1] == (len(rows), len(rows))


def test_a_single_prompt_gives_its_name_to_no_metric(run: FakeRun) -> None:
    run.spec = {**SPEC, "prompts": ["deep", None, "deep@1"]}
    metrics = evaluate(run)
    assert metrics["test/loss"] == metrics["deep@1/test/loss"] != metrics["bare/test/loss"]
    assert len(lines(run)) == 2 * len(examples())


def test_sampled_answers_are_measured_and_written(run: FakeRun) -> None:
    run.spec = {**SPEC, "max_tokens": 3, "sampling": {"n": 3}}
    metrics = evaluate(run)
    rows = [row for row in lines(run) if row["prompt"] is None]
    assert all(len(row["samples"]) == 3 for row in rows)
    for name in ("pass@1", "pass@2", "pass@3", "majority@1", "majority@3"):
        mean = sum(row[name] for row in rows) / len(rows)
        assert metrics[f"bare/test/{name}"] == pytest.approx(mean)
        assert metrics[f"bare/test/{name}_low"] <= mean <= metrics[f"bare/test/{name}_high"]
    assert "test/pass@2" in json.loads(run.outputs["summary.json"])["soft@2"]


def test_n_draws_by_the_seed(run: FakeRun) -> None:
    run.spec = {**SPEC, "n": 3}
    evaluate(run)
    assert {row["index"] for row in lines(run)} == {example.index for example in examples()[-3:]}


@pytest.mark.parametrize("stop", ["stop_at", "kill_at"])
def test_it_goes_on_from_its_checkpoint_to_the_same_outcome(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch, llama: World, stop: str
) -> None:
    monkeypatch.setattr(evaluator, "ROWS_PER_CHUNK", 9)
    whole = run.again()
    whole.outputs = {}
    expected = evaluate(whole)
    setattr(run, stop, 2 * whole.n_checks // 3)
    with pytest.raises(RunStopped if stop == "stop_at" else Killed):
        evaluate(run)
    assert run.checkpoint is not None
    # Meanwhile the name has come to mean another version.
    PromptStore(run.artifacts).create("soft", prompt=file_of(llama, "soft-short", base="small"))
    again = run.again()
    assert evaluate(again) == expected
    assert again.outputs == whole.outputs
    assert 0 < again.n_checks < whole.n_checks


def test_examples_beyond_the_context_are_left_out_and_counted(run: FakeRun) -> None:
    long = " ".join(["t5"] * 126)
    extra = Example(index=99, split="test", input=long, target=" t6", text=None, answers=("t6",), record={})
    run.datasets = FakeDatasets({"words": {"test": [*examples(), extra]}})
    evaluate(run)
    assert len(lines(run)) == 3 * len(examples())
    assert len(run.warnings()) == 1
    assert run.warnings()[0].startswith(f"1 of {len(examples()) + 1} test examples")


def test_running_text_has_losses_only(run: FakeRun) -> None:
    story = Example(index=0, split="test", input=None, target=None, text="t5 t6 t7", answers=(), record={})
    run.datasets = FakeDatasets({"words": {"test": [story]}})
    metrics = evaluate(run)
    assert "bare/test/perplexity" in metrics
    assert not any("f1" in name for name in metrics)
    assert any("has no exact_match, f1: running text has no answers" in text for text in run.warnings())


def test_what_cannot_be_evaluated_is_refused(run: FakeRun, llama: World) -> None:
    PromptStore(run.artifacts).create("other", prompt=file_of(llama, "soft", base="large"))
    run.spec = {**SPEC, "prompts": ["other"]}
    with pytest.raises(InvalidRequest, match="got other@1 for 'large'"):
        evaluate(run)
    run.spec = {**SPEC, "prompts": ["none"]}
    with pytest.raises(NotFound):
        evaluate(run)
    run.spec = {**SPEC, "split": "train"}
    with pytest.raises(InvalidRequest, match="no train example"):
        evaluate(run)
