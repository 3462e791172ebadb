"""Examples as token ids: what the model reads, and what it is to answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.engine.model.hosted_model import HostedModel


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """The model reads ``input_ids`` and then ``target_ids``; the loss is over all of ``target_ids``. Both have tokens."""

    input_ids: tuple[int, ...]
    target_ids: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens that are read: the last one of the target is only predicted."""
        return len(self.input_ids) + len(self.target_ids) - 1


class TextExample(Protocol):
    """An example of a dataset: ``input`` and ``target``, or running ``text``."""

    @property
    def input(self) -> str | None: ...
    @property
    def target(self) -> str | None: ...
    @property
    def text(self) -> str | None: ...


def encode(model: HostedModel, examples: Iterable[TextExample], *, max_tokens: int) -> tuple[list[EncodedExample], int]:
    """Token ids of each example that can be tuned on, and how many cannot.

    An input is tokenised as the engine does it for a completion, a target without special tokens; the model's
    end-of-text token, if it has one, ends each target. Of a running text all tokens but the first are the target.

    Args:
        max_tokens: that an example may have, virtual positions apart. A longer pair is left out; a longer text is cut.

    Returns:
        The encoded examples in order, and the number left out: too long, or without a token to read or to answer.
    """
    items = list(examples)
    pairs = [item for item in items if item.text is None]
    inputs = iter(_token_ids(model, [item.input or "" for item in pairs], special=True))
    targets = iter(_token_ids(model, [item.target or "" for item in pairs], special=False))
    texts = iter(_token_ids(model, [item.text for item in items if item.text is not None], special=True))
    end = end_of_text(model)
    ending = () if end is None else (end,)
    found = [
        _pair(next(inputs), (*next(targets), *ending), max_tokens=max_tokens)
        if item.text is None
        else _running((*next(texts), *ending), max_tokens=max_tokens)
        for item in items
    ]
    kept = [example for example in found if example is not None]
    return kept, len(found) - len(kept)


def end_of_text(model: HostedModel) -> int | None:
    """The token that ends a text, the tokenizer's own where there are several; None if the model has none."""
    for source in (model.tokenizer, getattr(model.module, "generation_config", None), model.config):
        value = getattr(source, "eos_token_id", None)
        if isinstance(value, (list, tuple)):
            value = value[0] if value else None
        if value is not None:
            return int(value)
    return None


def _token_ids(model: HostedModel, texts: Sequence[str], *, special: bool) -> list[tuple[int, ...]]:
    if not texts:
        return []
    # Inputs as in the engine's intake, without a word about special tokens: whatever the tokenizer adds is added.
    encoded = model.tokenizer(list(texts)) if special else model.tokenizer(list(texts), add_special_tokens=False)
    return [tuple(ids) for ids in encoded["input_ids"]]


def _pair(input_ids: tuple[int, ...], target_ids: tuple[int, ...], *, max_tokens: int) -> EncodedExample | None:
    fits = len(input_ids) + len(target_ids) <= max_tokens
    return EncodedExample(input_ids, target_ids) if fits and input_ids and target_ids else None


def _running(ids: tuple[int, ...], *, max_tokens: int) -> EncodedExample | None:
    return EncodedExample(ids[:1], ids[1:max_tokens]) if len(ids) > 1 else None
