"""States of texts: of a dataset's examples, and of given texts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from promptatlas.types.maps import DatasetSource, TextsSource

from service.map_sources.interface import SourceContext, TextReader
from service.map_sources.states import Per, states_of
from service.map_sources.texts import Batcher, Text, TextParts
from service.store.maps.points import shown

N_TOKENIZED = 64
"""Texts that are tokenized together."""


async def add_dataset(source: DatasetSource, *, name: str, to: SourceContext) -> None:
    """A seeded sample of a dataset's examples, each read as in tuning."""
    to.points.require_room(source.n)
    reader = await to.reader.under(source.prompt_ref)

    def read() -> Iterator[TextParts]:
        examples = to.datasets.examples(
            source.dataset, split=source.split, n=source.n, seed=source.seed, template=source.template
        )
        return (TextParts.of_example(example, include_target=source.include_target) for example in examples)

    parts = await to.reader.run_blocking(read)
    await _add_texts(parts, n=source.n, per=source.per, name=name, reader=reader, to=to)


async def add_texts(source: TextsSource, *, name: str, to: SourceContext) -> None:
    """The given texts."""
    reader = await to.reader.under(source.prompt_ref)
    parts = (TextParts(begin=text, index=i) for i, text in enumerate(source.texts))
    await _add_texts(parts, n=len(source.texts), per=source.per, name=name, reader=reader, to=to)


async def _add_texts(
    parts: Iterator[TextParts], *, n: int, per: Per, name: str, reader: TextReader, to: SourceContext
) -> None:
    batcher = Batcher(reader.batch_limits(n_layers=len(to.layers)))
    n_read = 0

    async def add(batch: list[Text]) -> None:
        nonlocal n_read
        await _add_batch(batch, per=per, name=name, reader=reader, to=to)
        n_read += len(batch)
        to.progress(n_read / n)

    while chunk := await to.reader.run_blocking(lambda: list(islice(parts, N_TOKENIZED))):
        for text in await reader.tokenize(chunk):
            if text.n_own and (batch := batcher.add(text)):
                await add(batch)
    if rest := batcher.flush():
        await add(rest)


async def _add_batch(batch: list[Text], *, per: Per, name: str, reader: TextReader, to: SourceContext) -> None:
    tensors = await reader.capture(batch, layers=to.layers)
    states = states_of(batch, tensors, layers=to.layers, per=per)
    texts = [shown(text.text) for text in batch]
    tasks = [text.task for text in batch]
    rows = states.rows.tolist()
    tokens = None if states.token_ids is None else await to.reader.token_texts(states.token_ids.tolist())
    for layer, vectors in states.vectors.items():
        to.points.add(
            layer,
            vectors,
            source=name,
            role="state",
            positions=states.positions,
            text=[texts[row] for row in rows],
            task=[tasks[row] for row in rows],
            token=tokens,
            prompt=reader.prompt_label,
        )
