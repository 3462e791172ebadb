"""Examples as they are asked: their tokens, and all answers that count as right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.engine.model.hosted_model import HostedModel
from service.store.datasets.items import Example
from workers.tuning.encoding import EncodedExample, encode


@dataclass(frozen=True, kw_only=True)
class Item:
    """One example. input: None for running text, which has a loss but no answer. index: its place in the split."""

    split: str
    index: int
    input: str | None
    answers: tuple[str, ...]
    encoded: EncodedExample

    @property
    def is_asked(self) -> bool:
        return self.input is not None and bool(self.answers)


def prepare(model: HostedModel, examples: Iterable[Example], *, max_tokens: int) -> tuple[list[Item], int]:
    """The examples that fit ``max_tokens`` tokens of input, target and end of text; and how many do not."""
    items, n_dropped = [], 0
    for example in examples:
        encoded, n = encode(model, [example], max_tokens=max_tokens)
        n_dropped += n
        items += [_item(example, one) for one in encoded]
    return items, n_dropped


def longest_target(items: Sequence[Item]) -> int:
    """Tokens of the longest target with its end of text: enough for any right answer to be given and to end."""
    return max((len(item.encoded.target_ids) for item in items if item.is_asked), default=1)


def _item(example: Example, encoded: EncodedExample) -> Item:
    answers = example.answers or ((example.target,) if example.target is not None else ())
    return Item(split=example.split, index=example.index, input=example.input, answers=answers, encoded=encoded)
