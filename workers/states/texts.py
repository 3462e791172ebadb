"""From texts and a dataset's records to token ids, with the tokens that are the text's own told from those added to it.

Tokens that a tokenizer adds by itself (a beginning of text) are read, since the states of the others depend on them, but
are no points: the state of a first token can be a hundred times as long as all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.engine.model.detokenizer import Detokenizer
from service.engine.model.hosted_model import HostedModel
from service.store.maps.points import task_of

if TYPE_CHECKING:
    from service.store.datasets.items import Example

MAX_TOKENS = 4096
"""Of each text, so many tokens at most are read, and never more than the model's context has room for."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """One text to read.

    ids: its tokens, of which those with ``own`` are the text's and the others were added. index: its number in what it
    comes from; of a dataset's record that is the record's. task: the record's own label. input: the part in front of the
    target, where there is one.
    """

    ids: tuple[int, ...]
    own: tuple[bool, ...]
    text: str
    index: int
    split: str | None = None
    task: str | None = None
    input: str | None = None

    @property
    def n_own(self) -> int:
        """How many tokens are the text's own."""
        return sum(self.own)

    def cut(self, n: int) -> Text:
        """The first ``n`` tokens; ``text`` stays whole."""
        return self if len(self.ids) <= n else replace(self, ids=self.ids[:n], own=self.own[:n])


class Encoder:
    """Tokenises for one model.

    Args:
        n_virtual: positions of the context that a prompt takes.
    """

    def __init__(self, model: HostedModel, *, n_virtual: int = 0) -> None:
        self._tokenizer = model.tokenizer
        self._detokenizer = Detokenizer(model.tokenizer)
        self.longest = max(1, min(MAX_TOKENS, model.n_positions - n_virtual))

    def texts(self, texts: Iterable[str]) -> Iterator[Text]:
        """Texts that are given, numbered from 0; longer ones are cut to ``longest`` tokens."""
        for index, text in enumerate(texts):
            ids, own = self._ids(text)
            yield Text(ids=ids, own=own, text=text, index=index).cut(self.longest)

    def examples(self, examples: Iterable[Example], *, include_target: bool = True) -> Iterator[Text]:
        """Records as tuning reads them: running text, or input and target, each tokenised by itself; long ones are cut.

        Args:
            include_target: else the input alone is read.
        """
        for example in examples:
            yield self.example(example, include_target=include_target)

    def example(self, example: Example, *, include_target: bool = True) -> Text:
        """One record; see ``examples``."""
        begin = example.text if example.text is not None else example.input or ""
        target = (example.target or "") if include_target and example.text is None else ""
        ids, own = self._ids(begin)
        if target:
            more = tuple(self._tokenizer(target, add_special_tokens=False)["input_ids"])
            ids, own = ids + more, own + (True,) * len(more)
        return Text(
            ids=ids,
            own=own,
            text=begin + target,
            index=example.index,
            split=example.split,
            task=task_of(example.record),
            input=example.input,
        ).cut(self.longest)

    def token_text(self, token_id: int) -> str:
        """The text of one token as it stands inside a text, with its leading space."""
        return self._detokenizer.token_text(token_id)

    @property
    def n_tokens(self) -> int:
        """Tokens that texts can be made of; the model's embedding matrix may have more rows."""
        return len(self._tokenizer)

    @property
    def added(self) -> tuple[int, int]:
        """How many tokens the tokenizer puts in front of every text, and how many behind it."""
        _, own = self._ids("a")
        first = next((i for i, flag in enumerate(own) if flag), len(own))
        behind = next((i for i, flag in enumerate(reversed(own)) if flag), 0)
        return first, behind

    def _ids(self, text: str) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        found = self._tokenizer(text, return_special_tokens_mask=True)
        return tuple(found["input_ids"]), tuple(not flag for flag in found["special_tokens_mask"])
