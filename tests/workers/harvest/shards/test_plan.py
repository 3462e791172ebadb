"""How texts are cut into shards, by made-up readings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from service.map_sources.texts import Text
from service.store.datasets.items import Example
from workers.harvest.readers.reader import Identity
from workers.harvest.shards.plan import (
    MAX_SHARD_TOKENS,
    MIN_SHARD_TOKENS,
    TEXT_ROW_BYTES,
    TOKEN_ROW_BYTES,
    HarvestPlan,
    make_plan,
)


class Counting:
    """Reads as many tokens of a text as its record says; none where that is nothing."""

    def __init__(self, *, row_kind: Any = "token", width: int = 10) -> None:
        self.identity = Identity(model="m", revision="r", prompt_sha256="p")
        self.row_kind = row_kind
        self.itemsize = 2
        self._width = width

    def encode(self, examples: Sequence[Example]) -> list[Text | None]:
        found = [example.record["n"] for example in examples]
        return [Text(ids=(0,) * n, own=(True,) * n, text="", index=0) if n else None for n in found]

    def n_tokens(self, text: Text) -> int:
        return len(text.ids)

    def n_rows(self, text: Text) -> int:
        return 1 if self.row_kind == "text" else len(text.ids)

    def shapes(self, *, longest: int) -> dict[str, tuple[int, ...]]:
        return {"a": (self._width,), "b": (2, longest)}

    def read(self, texts: Sequence[Text], *, longest: int) -> Any:
        raise AssertionError

    def token_text(self, token_id: int) -> str:
        raise AssertionError


def plan_of(lengths: Sequence[int], *, shard_bytes: int = 1 << 30, **reading: Any) -> HarvestPlan:
    examples = [
        Example(index=i, split="test", input=None, target=None, text="", answers=(), record={"n": n})
        for i, n in enumerate(lengths)
    ]
    return make_plan(Counting(**reading), examples, dataset_sha256="d", shard_bytes=shard_bytes, check=lambda: None)


def spans(plan: HarvestPlan) -> list[tuple[int, int, int, int]]:
    return [(s.first_example, s.n_examples, s.first_text, s.n_texts) for s in plan.shards]


def test_texts_that_cannot_be_read_lie_in_shards_uncounted() -> None:
    lengths = [0, 3, 2, 0, 4, 1, 0]
    row = 2 * (10 + 2 * 4) + TOKEN_ROW_BYTES
    plan = plan_of(lengths, shard_bytes=6 * row)
    assert plan.row_bytes == row
    assert spans(plan) == [(1, 2, 0, 2), (4, 2, 2, 2)]
    assert (plan.n_texts, plan.n_rows, plan.n_tokens, plan.n_dropped, plan.longest) == (4, 10, 10, 3, 4)
    assert plan.n_bytes == 10 * row
    assert plan.tensors == {"a": (10,), "b": (2, 4)}


def test_a_text_larger_than_a_shard_has_one_of_its_own() -> None:
    assert spans(plan_of([1, 50, 1], shard_bytes=100)) == [(0, 1, 0, 1), (1, 1, 1, 1), (2, 1, 2, 1)]


def test_small_rows_are_shared_by_their_work() -> None:
    n = 5 * MIN_SHARD_TOKENS
    plan = plan_of([64] * (n // 64), row_kind="text")
    assert plan.row_bytes == 2 * (10 + 2 * 64) + TEXT_ROW_BYTES
    assert [shard.n_tokens for shard in plan.shards] == [MIN_SHARD_TOKENS] * 5


@pytest.mark.parametrize(
    ("n_shards_tokens", "tokens_each"),
    [(100 * MIN_SHARD_TOKENS, 100 * MIN_SHARD_TOKENS // 64), (1 << 27, MAX_SHARD_TOKENS)],
)
def test_a_shard_of_much_work_is_bounded_too(n_shards_tokens: int, tokens_each: int) -> None:
    length = 1 << 14
    plan = plan_of([length] * (n_shards_tokens // length), row_kind="text")
    assert max(shard.n_tokens for shard in plan.shards) <= tokens_each
    assert max(shard.n_tokens for shard in plan.shards) > tokens_each - length


def test_nothing_makes_no_shards() -> None:
    assert plan_of([0, 0]).shards == ()


def test_a_plan_is_kept_as_json() -> None:
    plan = plan_of([3, 0, 4], shard_bytes=200)
    assert HarvestPlan.from_json(json.loads(json.dumps(plan.to_json())), label="x") == plan
