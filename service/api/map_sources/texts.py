"""States of texts: those of a dataset, and those that are given."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from promptatlas.types.maps import DatasetSource, TextsSource
from promptatlas.types.references import PromptRef

from service.api.engine_reads.states import Ids, mean_of
from service.api.map_sources.collector import Collector, shown_ref
from service.api.requests.prompt_resolution import Choice
from service.store.datasets.items import Example
from service.store.maps.points import shown, task_of


@dataclass(frozen=True, kw_only=True)
class _Text:
    """begin and end are tokenised each by itself, as tuning does it with input and target."""

    begin: str
    end: str = ""
    task: str | None = None


async def add_dataset(source: DatasetSource, *, name: str, to: Collector) -> None:
    """A seeded sample of a dataset's records."""
    to.points.check_room(source.n)

    def read() -> list[_Text]:
        examples = to.services.datasets.examples(
            source.dataset, split=source.split, n=source.n, seed=source.seed, template=source.template
        )
        return [_text_of(example, include_target=source.include_target) for example in examples]

    texts = await asyncio.to_thread(read)
    await _add(texts, per=source.per, ref=source.prompt_ref, name=name, to=to)


async def add_texts(source: TextsSource, *, name: str, to: Collector) -> None:
    """The given texts."""
    texts = [_Text(begin=text) for text in source.texts]
    await _add(texts, per=source.per, ref=source.prompt_ref, name=name, to=to)


def _text_of(example: Example, *, include_target: bool) -> _Text:
    begin = example.text if example.text is not None else example.input or ""
    end = (example.target or "") if include_target and example.text is None else ""
    return _Text(begin=begin, end=end, task=task_of(example.record))


async def _add(texts: Sequence[_Text], *, per: str, ref: PromptRef | None, name: str, to: Collector) -> None:
    choice = await to.choose(ref)
    ids, n_begins = await _ids(texts, choice, to)
    async for i, states in to.states.states(ids, layers=to.layers, prompt=choice.prompt):
        at = np.arange(len(ids[i]))
        own = at[to.own(at, n_input=n_begins[i])]
        if not len(own):
            continue
        text = texts[i]
        labels: dict[str, Any] = {"source": name, "role": "state", "task": text.task, "prompt": shown_ref(choice)}
        labels["text"] = shown(text.begin + text.end)
        if per == "token":
            labels |= {"positions": own, "token": await to.token_texts(ids[i][position] for position in own)}
        for layer, vectors in states.items():
            to.points.add(layer, vectors[own] if per == "token" else mean_of(vectors[own]), **labels)


async def _ids(texts: Sequence[_Text], choice: Choice, to: Collector) -> tuple[list[Ids], list[int]]:
    """Ids of each text, cut to what a map run reads, and how many of them are of its begin and what is added to it."""
    front, behind = to.found.facts.added
    begins = await to.states.token_ids([text.begin for text in texts])
    with_end = [i for i, text in enumerate(texts) if text.end]
    ends = dict(zip(with_end, await to.states.token_ids([texts[i].end for i in with_end]), strict=True))
    n_virtual = 0 if choice.used is None else choice.used.n_virtual
    longest = max(1, min(to.found.facts.max_tokens, to.card["n_positions"] - n_virtual))
    joined = []
    for i, begin in enumerate(begins):
        end = ends.get(i, ())
        joined.append((begin + end[front : len(end) - behind])[:longest])
    return joined, [len(begin) for begin in begins]
