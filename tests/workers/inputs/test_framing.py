"""The tokens that all framed items begin with, by whole tokenizations of each item."""

from __future__ import annotations

from typing import Any

import pytest
from promptatlas.types.generation import Context, FieldContext, Shots
from pydantic import TypeAdapter
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from service.store.datasets.items import Example
from workers.inputs.framing import Framing, framed_ids, front_ids

TEMPLATE = (
    "{% for m in messages %}{% if not m.content and strict %}{{ raise_exception('empty') }}{% endif %}"
    "[{{ m.role[0] }}]{{ m.content }}{% endfor %}[a]"
)
CONTEXTS: dict[str, Any] = {
    "text": "abc abc ",
    "chat": [{"role": "system", "content": "abcabc"}, {"role": "user", "content": "b"}],
    "shots": {"shots": 2, "separator": "c"},
}


def tokenizer(*, template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """Letters as tokens, and ``ab`` and ``ca`` as pairs that are joined."""
    letters = {letter: i for i, letter in enumerate("?abcsu[] ")}
    merges = [("a", "b"), ("c", "a")]
    bpe = Tokenizer(models.BPE({**letters, "ab": 9, "ca": 10}, merges, unk_token="?"))
    bpe.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe)
    fast.chat_template = template
    return fast


def items() -> list[Example]:
    texts = ["aab", "b", "cab", "abc"]
    return [
        Example(index=i, split="train", record={"chunk": "ab"}, text=None, input=text, target="a", answers=())
        for i, text in enumerate(texts)
    ]


def framing(context: Any) -> Framing:
    parsed: Context | None = None if context is None else TypeAdapter(Context).validate_python(context)
    return Framing(parsed, shots=items()[:3] if isinstance(parsed, Shots) else ())


def n_shared(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


@pytest.mark.parametrize("name", ["text", "chat"])
def test_every_item_begins_with_the_front(name: str) -> None:
    own, frame = tokenizer(), framing(CONTEXTS[name])
    front = front_ids(own, frame)
    each = [framed_ids(own, frame.input_of(item)) for item in items()]
    shared = min(n_shared(each[0], other) for other in each[1:])
    assert shared > 5
    # All that items share, but for tokens that are joined with an item's first letter.
    assert all(n_shared(front, ids) >= shared - 1 for ids in each)


def test_items_that_are_no_shots_begin_with_the_shots() -> None:
    own, frame = tokenizer(), framing(CONTEXTS["shots"])
    ids = framed_ids(own, frame.input_of(items()[3]))
    front = front_ids(own, frame)
    assert n_shared(front, ids) >= len(front) - 1 > 4


def test_other_frames_have_no_front() -> None:
    own = tokenizer()
    assert front_ids(own, framing(None)) == ()
    assert front_ids(own, Framing(FieldContext(field="chunk"))) == ()
    strict = tokenizer(template="{% set strict = true %}" + TEMPLATE)
    assert front_ids(strict, framing(CONTEXTS["chat"])) == ()
