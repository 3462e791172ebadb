"""Sampled answers of an evaluation, against single requests to the engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from promptatlas.types.tuning import AnswerSampling

from service.engine.inputs import PromptChoice
from service.engine.requests import Generate, Limits, Sampling
from tests.service.engine.contract import World, serve
from tests.workers.evaluation.test_evaluator import examples
from workers.evaluation.answer_sampling import AnswerSampler
from workers.evaluation.evaluator import Evaluation, Evaluator
from workers.evaluation.example_rows import ExampleRow
from workers.evaluation.generation import GenerationInput
from workers.evaluation.summary import Summary
from workers.inputs.examples import EvalExample, eval_examples

N, MAX_TOKENS = 5, 2
SAMPLING = AnswerSampling(n=N, k=[1, 2, 5], temperature=0.9, top_k=8)


@pytest.fixture(scope="module")
def items(llama: World) -> list[EvalExample]:
    """Examples of which the most frequent sample is a correct answer, except every third."""
    found, _ = eval_examples(llama.hosted, examples(), max_tokens=100)
    rows = evaluator(llama).rows(found)
    frequent = {row.index: Counter(row.samples).most_common(1)[0][0] for row in rows if row.label == "bare"}
    return [item if i % 3 == 2 else replace(item, answers=(frequent[item.index],)) for i, item in enumerate(found)]


def evaluator(world: World, *, limits: Limits | None = None, **changes: Any) -> Evaluator:
    return Evaluator(
        world.hosted,
        prompts={"bare": None, "soft": world.load_prompt("soft")},
        metrics=["exact_match", "loss"],
        limits=limits or Limits(),
        max_tokens=MAX_TOKENS,
        sampling=SAMPLING.model_copy(update=changes),
        seed=7,
    )


def alone(world: World, row: ExampleRow, given: GenerationInput) -> str:
    """The text of one sample that is requested alone."""
    prompt = None if row.label == "bare" else PromptChoice(parts=((row.label, 1.0),))
    request = Generate(
        request_id="x", inputs=(given.ids,), max_tokens=given.max_tokens, sampling=given.sampling, prompt=prompt
    )
    return serve(world.engine(), [request])["x"].text()


def test_samples_are_what_their_seeds_give_alone(llama: World, items: Sequence[EvalExample]) -> None:
    sampler = AnswerSampler(SAMPLING, seed=7)
    by_index = {item.index: item for item in items}
    seeds = set()
    for row in evaluator(llama).rows(items)[::5]:
        item = by_index[row.index]
        given = GenerationInput(label=row.label, ids=item.encoded.input_ids, max_tokens=MAX_TOKENS)
        requests = sampler.inputs(given, example=item)
        seeds |= {request.sampling.seed for request in requests}
        assert all(
            request.sampling == Sampling(temperature=0.9, top_k=8, seed=request.sampling.seed) for request in requests
        )
        assert list(row.samples) == [alone(llama, row, request) for request in requests]
    assert len(seeds) > N


def test_measures_are_the_shares_of_correct_samples(llama: World, items: Sequence[EvalExample]) -> None:
    rows = evaluator(llama).rows(items)
    assert len({row.samples for row in rows}) > len(items)
    for row in rows:
        item = next(each for each in items if each.index == row.index)
        correct = [text.split() == item.answers[0].split() for text in row.samples]
        assert row.scores["pass@1"] == row.scores["majority@1"] == pytest.approx(sum(correct) / N)
        assert row.scores["pass@5"] == float(any(correct))
        assert row.to_json()["samples"] == list(row.samples)
    assert {row.scores["pass@5"] for row in rows} == {0.0, 1.0}


def test_greedy_answers_and_losses_are_those_without_sampling(llama: World, items: Sequence[EvalExample]) -> None:
    names = ("exact_match",)
    plain = Evaluator(
        llama.hosted,
        prompts={"bare": None, "soft": llama.load_prompt("soft")},
        metrics=["exact_match", "loss"],
        limits=Limits(),
        max_tokens=MAX_TOKENS,
    ).rows(items)
    for one, other in zip(evaluator(llama).rows(items), plain, strict=True):
        assert (one.output, one.loss) == (other.output, other.loss)
        assert {name: one.scores[name] for name in names} == other.scores
        assert "samples" not in other.to_json()


def test_chunks_and_resuming_change_nothing(llama: World, items: Sequence[EvalExample]) -> None:
    whole = evaluator(llama).rows(items)
    first = Evaluation(evaluator(llama, limits=Limits(max_rows=3)), examples=items, rows_per_chunk=4)
    first.step()
    second = Evaluation(evaluator(llama), examples=items, rows_per_chunk=4)
    second.load(first.state())
    while not second.finished:
        second.step()
    # Losses of another batch may differ in their last bits.
    assert [replace(row, loss=None) for row in second.rows] == [replace(row, loss=None) for row in whole]


def test_the_summary_has_means_with_intervals(llama: World, items: Sequence[EvalExample]) -> None:
    rows = [row for row in evaluator(llama).rows(items) if row.label == "bare"]
    found = Summary(rows, metrics=["pass@5", "majority@2"], samples=200, seed=0).of("bare")
    values = [row.scores["pass@5"] for row in rows]
    assert found["test/pass@5"].value == pytest.approx(sum(values) / len(values))
    assert found["test/pass@5"].low < found["test/pass@5"].value < found["test/pass@5"].high
    assert found["test/majority@2"].n == len(rows)


def test_running_text_has_no_samples(llama: World, items: Sequence[EvalExample]) -> None:
    text = replace(items[0], input=None, answers=())
    (bare, soft) = evaluator(llama).rows([text])
    assert bare.samples == soft.samples == ()
    assert "pass@1" not in bare.scores
