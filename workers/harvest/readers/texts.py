"""From a dataset's records to token ids, many at a time, as tuning reads them: input and target, each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from service.store.maps.points import task_of
from workers.states.texts import Text

if TYPE_CHECKING:
    from service.store.datasets.items import Example

Ids = tuple[int, ...]
Flags = tuple[bool, ...]


class TextEncoder:
    """Tokenises records.

    Args:
        tokenizer: of transformers.
        include_target: else the input alone is read.
        max_tokens: texts are cut to so many; None: they stay as they are.
    """

    def __init__(self, tokenizer: Any, *, include_target: bool, max_tokens: int | None) -> None:
        self._tokenizer = tokenizer
        self._include_target = include_target
        self._max_tokens = max_tokens

    def encode(self, examples: Sequence[Example]) -> list[Text]:
        """A text for each record, perhaps without tokens; nothing is left out here."""
        begins = [example.text if example.text is not None else example.input or "" for example in examples]
        targets = [self._target(example) for example in examples]
        texts = []
        for example, begin, target, (ids, own), more in zip(
            examples, begins, targets, with_added(self._tokenizer, begins), bare(self._tokenizer, targets), strict=True
        ):
            whole = Text(
                ids=ids + more,
                own=own + (True,) * len(more),
                text=begin + target,
                index=example.index,
                split=example.split,
                task=task_of(example.record),
                input=example.input,
            )
            texts.append(whole if self._max_tokens is None else whole.cut(self._max_tokens))
        return texts

    def _target(self, example: Example) -> str:
        return (example.target or "") if self._include_target and example.text is None else ""


def with_added(tokenizer: Any, texts: Sequence[str]) -> list[tuple[Ids, Flags]]:
    """Each text's ids with what the tokenizer adds, and of each id whether it is the text's own."""
    if not texts:
        return []
    found = tokenizer(list(texts), return_special_tokens_mask=True)
    return [
        (tuple(ids), tuple(not flag for flag in mask))
        for ids, mask in zip(found["input_ids"], found["special_tokens_mask"], strict=True)
    ]


def bare(tokenizer: Any, texts: Sequence[str]) -> list[Ids]:
    """Each text's ids, nothing added."""
    wanted = [text for text in texts if text]
    found = iter(tokenizer(wanted, add_special_tokens=False)["input_ids"] if wanted else ())
    return [tuple(next(found)) if text else () for text in texts]
