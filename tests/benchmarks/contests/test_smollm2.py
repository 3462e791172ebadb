"""Contests on the model of `make smollm2`: their sides agree at small sizes. Skipped where the model or the data are missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.contests.smollm2 import completions, data, deep, llama, quality, squad, states, step_floor, tuning
from benchmarks.contests.smollm2.greedy import Row, greedy_within_rounding
from benchmarks.contests.smollm2.model import END_OF_TEXT
from benchmarks.measuring.contest import Contest, Unavailable, warm_up
from benchmarks.sides.batch import generate
from benchmarks.sides.models import build_llama
from tests.benchmarks.sizes import LLAMA

Open = Callable[..., AbstractContextManager[Contest]]

# Eight losses a contest, as the bound of their errors assumes.
SMALL_TUNE = replace(tuning.EIGHT, n_prompts=2, n_steps=4, n_virtual=3, batch_size=2)
OPEN: Mapping[str, Open] = {
    "smollm2-tune-8": partial(tuning.open_contest, SMALL_TUNE),
    "smollm2-tune-1": partial(tuning.open_contest, replace(tuning.ONE, n_steps=8, n_virtual=3, batch_size=2)),
    "smollm2-step-floor": partial(
        step_floor.open_contest, replace(step_floor.FULL, n_prompts=(2, 1), n_steps=2, n_virtual=3, batch_size=2)
    ),
    "smollm2-tune-squad": partial(
        squad.open_contest,
        replace(squad.FULL, n_prompts=2, n_virtual=3, batch_size=1, n_steps=4, longest_context=70),
    ),
    "smollm2-tune-deep": partial(
        deep.open_contest, replace(deep.FULL, n_virtual=3, n_examples=4, batch_size=1, n_epochs=2)
    ),
    "smollm2-tune-quality": partial(
        quality.open_contest, replace(quality.FULL, n_prompts=2, n_virtual=3, n_steps=1, batch_size=2, n_held_out=4)
    ),
    "smollm2-completions": partial(
        completions.open_contest, replace(completions.FULL, n_requests=3, n_prompts=2, longest=12, n_new=5)
    ),
    "smollm2-llama.cpp": partial(
        llama.open_contest, replace(llama.MANY, n_requests=3, parallel=(2,), longest=12, n_new=5)
    ),
    "smollm2-single": partial(llama.open_contest, replace(llama.ONE, n_new=5)),
    "smollm2-states": partial(states.open_contest, replace(states.FULL, n_texts=8, n_tokens=9, batches=(4,))),
}


@pytest.mark.real
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", OPEN)
def test_sides_agree(name: str) -> None:
    try:
        with OPEN[name](http=True) as contest:
            assert contest.name == name
            agreements = warm_up(contest)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert agreements
    assert [agreement for agreement in agreements if not agreement.holds] == []


@pytest.mark.parametrize(
    "open_contest",
    [
        partial(completions.open_contest, completions.QUICK),
        partial(llama.open_contest, llama.ONE_QUICK),
        partial(states.open_contest, states.QUICK),
    ],
)
def test_serving_needs_http(open_contest: Open) -> None:
    with pytest.raises(ValueError, match="HTTP"), open_contest(http=False):
        pass


def test_missing_data_make_a_contest_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(data.VARIABLE, str(tmp_path))
    with pytest.raises(Unavailable, match=r"no squad-en\.json"):
        data.squad(1, longest_context=10)


class Words:
    """A tokenizer with one token a word: its length."""

    def __call__(self, texts: list[str], *, add_special_tokens: bool = True) -> Any:
        return {"input_ids": [[len(word) for word in text.split()] for text in texts]}


def test_arithmetic_reads_questions_and_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / data.ARITHMETIC
    folder.mkdir(parents=True)
    (folder / "arithmetic__add.txt").write_text("What is 1 + 20?\n21\nAdd 4 and 5.\n9\n")
    monkeypatch.setenv(data.VARIABLE, str(tmp_path))
    monkeypatch.setattr(data, "load_tokenizer", Words)
    found = {(example.input_ids, example.target_ids) for example in data.arithmetic(2)}
    # "Question: What is 1 + 20?", "Answer:", then "21" and the end of the text.
    assert found == {((9, 4, 2, 1, 1, 3, 7), (2, END_OF_TEXT)), ((9, 3, 1, 3, 2, 7), (1, END_OF_TEXT))}
    with pytest.raises(Unavailable, match="at least 3 questions"):
        data.arithmetic(3)


def test_squad_leaves_out_long_contexts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def paragraph(context: str) -> dict[str, Any]:
        return {"context": context, "qas": [{"question": "Who?", "answers": [{"text": "a b"}, {"text": "c"}]}]}

    articles = [{"paragraphs": [paragraph("one two three"), paragraph("one two three four")]}]
    (tmp_path / data.SQUAD).write_text(json.dumps({"data": articles}))
    monkeypatch.setenv(data.VARIABLE, str(tmp_path))
    monkeypatch.setattr(data, "load_tokenizer", Words)
    (example,) = data.squad(1, longest_context=3)
    assert example.input_ids == (3, 3, 5, 9, 4, 7)
    assert example.target_ids == (1, 1, END_OF_TEXT)
    with pytest.raises(Unavailable, match="at least 2 questions"):
        data.squad(2, longest_context=3)


class TestGreedy:
    """Greedy tokens of a small random model; the plain model is a copy with weights rounded to bfloat16."""

    exact = build_llama(LLAMA)
    plain = build_llama(LLAMA).bfloat16().float()
    ids = (5, 17, 3)

    def check(self, new: tuple[int, ...], **options: Any) -> bool:
        (agreement,) = greedy_within_rounding(
            "x", [Row(ids=self.ids, new=new)], plain=self.plain, exact=self.exact, n_new=6, **options
        )
        return agreement.holds

    def test_right_tokens(self) -> None:
        assert self.check(generate(self.exact, self.ids, n_new=6))

    def test_a_wrong_token(self) -> None:
        right = generate(self.exact, self.ids, n_new=6)
        with torch.no_grad():
            worst = int(self.exact(torch.tensor([self.ids + right[:5]])).logits[0, -1].argmin())
        assert not self.check((*right[:5], worst))
        assert self.check((*right[:5], worst), of_rounding=False)

    def test_too_few_tokens(self) -> None:
        right = generate(self.exact, self.ids, n_new=6)
        assert not self.check(right[:5])
        assert not self.check(right[:5], of_rounding=False)
