"""Examples as token ids: what the model reads, and the target whose loss is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from promptatlas.types.datasets import Split, Template

from service.engine.model.hosted_model import HostedModel
from service.store.datasets.items import Example
from service.store.datasets.store import DatasetStore


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """Token ids of one example; the loss is over all of ``target_ids``. Neither part is empty."""

    input_ids: tuple[int, ...]
    target_ids: tuple[int, ...]

    @property
    def length(self) -> int:
        """Number of tokens that the model reads: the last target token is predicted only."""
        return len(self.input_ids) + len(self.target_ids) - 1

    @property
    def is_reused(self) -> bool:
        """Whether later steps use the same object, so that its states are worth keeping."""
        return True


class TextExample(Protocol):
    """An example of a dataset: ``input`` and ``target``, or running ``text``."""

    @property
    def input(self) -> str | None: ...
    @property
    def target(self) -> str | None: ...
    @property
    def text(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class EvalExample:
    """One example to evaluate on.

    input: None for running text, which has a loss but no answer. answers: all that count as correct. index, record: of the
    dataset's record.
    """

    split: str
    index: int
    input: str | None
    answers: tuple[str, ...]
    encoded: EncodedExample
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_answers(self) -> bool:
        """Whether an answer can be generated for it and scored."""
        return self.input is not None and bool(self.answers)


def encode(model: HostedModel, examples: Iterable[TextExample], *, max_tokens: int) -> tuple[list[EncodedExample], int]:
    """Tokenize examples for tuning or for a loss.

    An input is tokenized as the engine does it for a completion, a target without special tokens. The model's
    end-of-text token, if it has one, ends each target. Of a running text, all tokens but the first are the target.

    Args:
        max_tokens: Limit for each example, virtual positions not counted. A longer pair is dropped, a longer text is cut.

    Returns:
        The encoded examples in order, and the number dropped: too long, or with an empty input or target.
    """
    items = list(examples)
    pairs = [item for item in items if item.text is None]
    inputs = iter(_token_ids(model, [item.input or "" for item in pairs], special=True))
    targets = iter(_token_ids(model, [item.target or "" for item in pairs], special=False))
    texts = iter(_token_ids(model, [item.text for item in items if item.text is not None], special=True))
    end = end_of_text(model)
    ending = () if end is None else (end,)
    found = [
        _encoded_pair(next(inputs), (*next(targets), *ending), max_tokens=max_tokens)
        if item.text is None
        else _encoded_text((*next(texts), *ending), max_tokens=max_tokens)
        for item in items
    ]
    kept = [example for example in found if example is not None]
    return kept, len(found) - len(kept)


def eval_examples(model: HostedModel, examples: Iterable[Example], *, max_tokens: int) -> tuple[list[EvalExample], int]:
    """Encode examples together with their answers.

    Args:
        max_tokens: Limit for input, target and end of text together.

    Returns:
        The examples that fit, in order, and the number dropped.
    """
    kept, n_dropped = [], 0
    for example in examples:
        encoded, n = encode(model, [example], max_tokens=max_tokens)
        n_dropped += n
        kept += [_eval_example(example, one) for one in encoded]
    return kept, n_dropped


def read_eval_examples(
    datasets: DatasetStore,
    name: str,
    *,
    model: HostedModel,
    split: Split,
    n: int | None,
    seed: int,
    template: Template | None,
    n_virtual: int,
    log: Callable[[str], None],
) -> list[EvalExample]:
    """Read a split of a stored dataset: ``n`` examples sampled with ``seed``, or all.

    Args:
        n_virtual: Positions of the context that virtual tokens take.
        log: Receives a warning when examples are dropped because they do not fit the context.
    """
    sample_seed = seed if n is not None else None
    examples = datasets.examples(name, split=split, n=n, seed=sample_seed, template=template)
    kept, n_dropped = eval_examples(model, examples, max_tokens=model.n_positions - n_virtual)
    if n_dropped:
        log(
            f"{n_dropped} of {n_dropped + len(kept)} {split} examples of {name} are left out: with {n_virtual} virtual "
            f"positions they are longer than the model's context of {model.n_positions} tokens."
        )
    return kept


def longest_target(examples: Sequence[EvalExample]) -> int:
    """Tokens of the longest target, end of text included: enough to generate any correct answer and end it."""
    return max((len(example.encoded.target_ids) for example in examples if example.has_answers), default=1)


def end_of_text(model: HostedModel) -> int | None:
    """The end-of-text token, the tokenizer's where there are several; None if the model has none."""
    for source in (model.tokenizer, getattr(model.module, "generation_config", None), model.config):
        value = getattr(source, "eos_token_id", None)
        if isinstance(value, (list, tuple)):
            value = value[0] if value else None
        if value is not None:
            return int(value)
    return None


def _eval_example(example: Example, encoded: EncodedExample) -> EvalExample:
    answers = example.answers or ((example.target,) if example.target is not None else ())
    return EvalExample(
        split=example.split,
        index=example.index,
        input=example.input,
        answers=answers,
        encoded=encoded,
        record=example.record,
    )


def _token_ids(model: HostedModel, texts: Sequence[str], *, special: bool) -> list[tuple[int, ...]]:
    if not texts:
        return []
    # Like the engine's intake, inputs leave add_special_tokens to the tokenizer's default.
    encoded = model.tokenizer(list(texts)) if special else model.tokenizer(list(texts), add_special_tokens=False)
    return [tuple(ids) for ids in encoded["input_ids"]]


def _encoded_pair(input_ids: tuple[int, ...], target_ids: tuple[int, ...], *, max_tokens: int) -> EncodedExample | None:
    fits = len(input_ids) + len(target_ids) <= max_tokens
    return EncodedExample(input_ids, target_ids) if fits and input_ids and target_ids else None


def _encoded_text(ids: tuple[int, ...], *, max_tokens: int) -> EncodedExample | None:
    return EncodedExample(ids[:1], ids[1:max_tokens]) if len(ids) > 1 else None
