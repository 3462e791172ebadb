"""Generation over datasets: runs that sample from a model for every item, and keep the samples as a dataset."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from promptatlas.types.answers import AnswerRule
from promptatlas.types.datasets import DatasetRef, Split, Template
from promptatlas.types.references import Name, PromptRef
from promptatlas.types.sampling import Stop
from promptatlas.types.sites import Text
from promptatlas.types.tuning import Metric
from promptatlas.types.wire import RequestBody

Keep = Literal["all", "correct", "shortest_correct", "random_correct", "majority"]
TeacherName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]

MAX_TOP_TOKENS = 64


class Turn(RequestBody):
    """One turn of a chat in front of each item."""

    role: Literal["system", "user", "assistant"]
    content: Text


class Shots(RequestBody):
    """Examples of the dataset in front of each item: input and target, each followed by ``separator``.

    shots: number of examples, drawn from ``split`` with the seed of the run; an item is never among its own.
    """

    shots: int = Field(ge=1, le=64)
    split: Split = "train"
    separator: str = Field(default="\n\n", max_length=64)


class FieldContext(RequestBody):
    """A field of each item's own record in front of it, so that every item has its own context.

    field: of the records of the dataset. separator: between the field and the item. role: None: the field is text in front of
    the item; otherwise it is a turn of a chat with this role, and the item is the user's next turn.
    """

    field: str = Field(min_length=1, max_length=200)
    separator: str = Field(default="\n\n", max_length=64)
    role: Literal["system", "user"] | None = None


def _tag(value: Any) -> str:
    if isinstance(value, str | list):
        return "text" if isinstance(value, str) else "turns"
    is_field = isinstance(value, FieldContext) or (isinstance(value, dict) and "field" in value)
    return "field" if is_field else "shots"


Context = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[list[Turn], Field(max_length=256), Tag("turns")]
    | Annotated[Shots, Tag("shots")]
    | Annotated[FieldContext, Tag("field")],
    Discriminator(_tag),
]
"""What a model reads in front of each item: a text, turns of a chat, shots, or a field of the item's record. With turns, also
with none, the item is the user's next turn in the model's chat format."""


def is_chat(context: Context | None) -> bool:
    """Whether the model reads the context and the item in its chat format."""
    return isinstance(context, list) or (isinstance(context, FieldContext) and context.role is not None)


class GenerateSpec(RequestBody):
    """Spec of a ``generate`` run: ``n`` samples for every item of a dataset under every prompt, kept as a dataset ``name``.

    model: a hosted model; with ``teacher``, the name of a model at that endpoint.
    teacher: an endpoint of ``teachers`` of the server's capabilities.
    prompt_refs: null is the model without a prompt.
    split: None: all splits. n_items: number of items, from the first.
    logprobs: also keep the ids and log-probabilities of so many most probable tokens at each generated token.
    answer: where the final answer of a sample is. metric: what a sample is correct by; its answer is compared with that of
    the item; default: numeric_match for ``last_number``, otherwise exact_match.
    keep: of each item: all samples, the correct ones, the correct one with the fewest tokens, a random correct one, or those
    with the most frequent answer. dedupe: keep equal texts of one item once.
    max_tokens: less where the context leaves less; an item that leaves no room is left out.
    reuse: take samples from earlier runs that asked for the same ones. shard_samples: samples that are generated together.
    """

    model: str = Field(min_length=1, max_length=200)
    teacher: TeacherName | None = None
    prompt_refs: list[PromptRef | None] = Field(default=[None], min_length=1, max_length=64)
    dataset: DatasetRef
    split: Split | None = None
    n_items: int | None = Field(default=None, ge=1)
    template: Template | None = None
    context: Context | None = None
    n: int = Field(default=1, ge=1, le=128)
    max_tokens: int = Field(default=256, ge=1, le=65_536)
    min_tokens: int = Field(default=0, ge=0, le=65_536)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0, le=2**31 - 1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0, le=100)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    stop: Stop | None = None
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    logprobs: int | None = Field(default=None, ge=0, le=MAX_TOP_TOKENS)
    answer: AnswerRule = "whole"
    metric: Metric | None = None
    keep: Keep = "all"
    dedupe: bool = False
    reuse: bool = True
    shard_samples: int | None = Field(default=None, ge=1, le=65_536)
    name: Name

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """``stop`` as a tuple."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
