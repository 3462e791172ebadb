"""Answers and losses against plain transformers, and what batches and interruptions must not change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import pytest
import torch
from promptatlas.types.tuning import Metric
from torch.nn import functional

from service.engine.prompts.prompt import Prompt
from service.engine.requests import Limits
from service.errors import InvalidRequest
from service.store.datasets.items import Example
from tests.oracle.models import EOS, build_tokenizer
from tests.oracle.runs import oracle_generate, oracle_states
from tests.service.engine.contract import TEXTS, World
from workers.evaluation.evaluator import Evaluation, Evaluator
from workers.evaluation.example_rows import ExampleRow, load_rows, save_rows
from workers.inputs.examples import EvalExample, eval_examples

KINDS = ("soft", "soft-short", "deep-local", "deep-carried", "prefix", "steering")
METRICS: tuple[Metric, ...] = ("exact_match", "f1", "precision", "recall", "accuracy", "numeric_match", "loss")
N_NEW = 6


class Stop(Exception):
    pass


def text(ids: Sequence[int]) -> str:
    return " ".join(f"t{i}" for i in ids)


def example(index: int, ids: Sequence[int], target: Sequence[int]) -> Example:
    return Example(
        index=index,
        split="test",
        input=text(ids),
        target=f" {text(target)}",
        text=None,
        answers=(text(target), "t96"),
        record={},
    )


def examples() -> list[Example]:
    """Two or three of each length, so that rows of one length and prompt stand together."""
    longer = [(*ids[1:], ids[0]) for ids in TEXTS[1:]]
    inputs = [*TEXTS, *longer, TEXTS[2]]
    return [example(3 * i, ids, (40 + i, 7, 7)[: 1 + i % 3]) for i, ids in enumerate(inputs)]


@pytest.fixture(scope="module")
def items(llama: World) -> list[EvalExample]:
    found, n_dropped = eval_examples(llama.hosted, examples(), max_tokens=100)
    assert n_dropped == 0
    return found


def prompts(world: World) -> dict[str, Prompt | None]:
    return {"bare": None, **{kind: world.load_prompt(kind) for kind in KINDS}}


def evaluated(
    world: World, items: Sequence[EvalExample], *, limits: Limits | None = None, metrics: Sequence[Metric] = METRICS
) -> list[ExampleRow]:
    return Evaluator(
        world.hosted, prompts=prompts(world), metrics=metrics, limits=limits or Limits(), max_tokens=N_NEW
    ).rows(items)


def by_case(rows: Sequence[ExampleRow]) -> Mapping[tuple[str, int], ExampleRow]:
    return {(row.label, row.index): row for row in rows}


def test_answers_and_losses_are_those_of_plain_transformers(llama: World, items: list[EvalExample]) -> None:
    tokenizer = build_tokenizer()
    rows = evaluated(llama, items)
    assert [(row.index, row.label) for row in rows] == [(i.index, label) for i in items for label in prompts(llama)]
    ends = set()
    for item in items:
        ids = [int(word[1:]) for word in str(item.input).split()]
        for label in ("bare", *KINDS):
            prompt = llama.prompts.get(label)
            row = by_case(rows)[label, item.index]
            run = oracle_generate(llama.model, llama.parts, ids, prompt, N_NEW)
            assert run.smallest_margin > 1e-4
            assert row.output is not None
            assert row.output.split() == tokenizer.decode(run.token_ids, skip_special_tokens=True).split()
            assert row.finish_reason == run.finish_reason
            ends.add(row.finish_reason)
            assert row.loss == pytest.approx(_oracle_loss(llama, ids, item, label), abs=2e-5)
    assert ends == {"stop", "length"}


def _oracle_loss(world: World, ids: Sequence[int], item: EvalExample, label: str) -> float:
    target = [int(word[1:]) for word in item.answers[0].split()] + [EOS]
    logits = oracle_states(world.model, world.parts, [*ids, *target[:-1]], world.prompts.get(label))["logits"]
    return float(functional.cross_entropy(logits[-len(target) :], torch.tensor(target)))


def test_generation_under_a_soft_prompt_is_that_of_generate_with_embeddings(
    llama: World, items: list[EvalExample]
) -> None:
    vectors = llama.prompts["soft"].tensors["soft"]
    rows = by_case(evaluated(llama, items, metrics=("f1",)))
    for item in items:
        ids = torch.tensor([int(word[1:]) for word in str(item.input).split()])
        embeds = torch.cat([vectors, llama.model.get_input_embeddings()(ids)])[None]
        plain = llama.model.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
            max_new_tokens=N_NEW,
            do_sample=False,
            pad_token_id=EOS,
        )
        expected = [f"t{i}" for i in plain[0].tolist() if i != EOS]
        assert (rows["soft", item.index].output or "").split() == expected


@pytest.mark.parametrize("limits", [Limits(max_rows=1, max_step_tokens=5), Limits(max_rows=7, prompt_cache_bytes=1)])
def test_batches_make_no_difference(llama: World, items: list[EvalExample], limits: Limits) -> None:
    rows, others = evaluated(llama, items[2:7]), evaluated(llama, items[2:7], limits=limits)
    for row, other in zip(rows, others, strict=True):
        assert (row.output, row.scores) == (other.output, other.scores)
        assert row.loss == pytest.approx(other.loss, abs=1e-5)


def test_scores_compare_the_output_with_all_answers(llama: World, items: list[EvalExample]) -> None:
    row = by_case(evaluated(llama, items))["soft", items[1].index]
    assert row.output is not None
    # The same example again, but that the model's own output is its second answer.
    again = EvalExample(
        split="test", index=0, input=items[1].input, answers=("t2", row.output.strip()), encoded=items[1].encoded
    )
    other = by_case(evaluated(llama, [again]))["soft", 0]
    assert row.scores["exact_match"] == 0.0
    assert other.scores["exact_match"] == other.scores["f1"] == 1.0
    assert other.scores["accuracy"] == 0.0


def test_only_what_the_metrics_need_is_made(llama: World, items: list[EvalExample]) -> None:
    assert {row.output for row in evaluated(llama, items, metrics=("loss",))} == {None}
    assert {row.loss for row in evaluated(llama, items, metrics=("f1",))} == {None}


def test_the_longest_target_gives_room_for_every_answer(llama: World, items: list[EvalExample]) -> None:
    evaluator = Evaluator(llama.hosted, prompts={"bare": None}, metrics=("f1",), limits=Limits())
    # Three tokens and end of text.
    assert max(len((row.output or "").split()) for row in evaluator.rows(items)) == 4


def test_running_text_has_a_loss_and_no_answer(llama: World) -> None:
    story = Example(index=0, split="test", input=None, target=None, text=text(TEXTS[3]), answers=(), record={})
    found, _ = eval_examples(llama.hosted, [story], max_tokens=100)
    (row,) = [r for r in evaluated(llama, found) if r.label == "bare"]
    logits = oracle_states(llama.model, llama.parts, TEXTS[3], None)["logits"]
    expected = functional.cross_entropy(logits, torch.tensor([*TEXTS[3][1:], EOS]))
    assert row.output is None
    assert row.scores == {}
    assert row.n_tokens == len(TEXTS[3])
    assert row.loss == pytest.approx(float(expected), abs=2e-5)


def test_examples_that_do_not_fit_are_counted(llama: World) -> None:
    found, n_dropped = eval_examples(llama.hosted, examples(), max_tokens=10)
    assert n_dropped == sum(len(str(e.input).split()) + len(str(e.target).split()) + 1 > 10 for e in examples())
    assert len(found) + n_dropped == len(examples())
    assert n_dropped > 0


def test_generation_stops_at_the_end_of_the_models_context(llama: World) -> None:
    ids = tuple(2 + i % 90 for i in range(120))
    found, _ = eval_examples(llama.hosted, [example(0, ids, (5,))], max_tokens=128)
    row = Evaluator(
        llama.hosted, prompts={"p": llama.load_prompt("soft")}, metrics=("f1",), limits=Limits(), max_tokens=50
    ).rows(found)[0]
    # 5 virtual and 120 given tokens leave 3 of the context of 128.
    assert row.finish_reason == "stop" or len((row.output or "").split()) == 3


def test_a_prompt_that_does_not_fit_the_model_is_named(llama: World, items: list[EvalExample]) -> None:
    wrong = Prompt("soft", {"soft": torch.zeros(3, 5)})
    evaluator = Evaluator(llama.hosted, prompts={"wrong": wrong}, metrics=("f1",), limits=Limits())
    with pytest.raises(InvalidRequest, match="expected shape"):
        evaluator.rows(items)


def test_an_order_to_stop_passes_through_and_leaves_the_evaluator_usable(
    llama: World, items: list[EvalExample]
) -> None:
    n_left = [4]

    def check() -> None:
        n_left[0] -= 1
        if n_left[0] == 0:
            raise Stop

    evaluator = Evaluator(
        llama.hosted, prompts=prompts(llama), metrics=METRICS, limits=Limits(max_rows=3), max_tokens=N_NEW, check=check
    )
    with pytest.raises(Stop):
        evaluator.rows(items)
    assert [row.output for row in evaluator.rows(items)] == [row.output for row in evaluated(llama, items)]


def test_an_evaluation_goes_on_from_its_state_to_the_same_rows(llama: World, items: list[EvalExample]) -> None:
    def evaluation() -> Evaluation:
        evaluator = Evaluator(llama.hosted, prompts=prompts(llama), metrics=METRICS, limits=Limits())
        return Evaluation(evaluator, examples=items, rows_per_chunk=18)

    whole = evaluation()
    while not whole.finished:
        whole.step()
    assert len(whole.rows) == whole.n_total == len(items) * len(prompts(llama))
    first, second = evaluation(), evaluation()
    first.step()
    assert not first.finished
    second.load(first.state())
    while not second.finished:
        second.step()
    assert second.rows == whole.rows


def test_rows_survive_a_checkpoint_and_read_well(llama: World, items: list[EvalExample]) -> None:
    rows = evaluated(llama, items)
    assert load_rows(save_rows(rows)) == rows
    line = rows[0].to_json(prompt=None)
    assert list(line)[:5] == ["prompt", "split", "index", "input", "answers"]
    assert set(cast("tuple[str, ...]", METRICS)) <= set(line)


def test_a_line_break_of_unicode_does_not_break_a_row() -> None:
    row = ExampleRow(label="a", split="test", index=0, input="one\u2028two\x85", answers=("ü",), output="\n", loss=None)
    assert load_rows(save_rows([row])) == [row]
