"""States of generations, one point per token."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from promptatlas.types.maps import Trajectories, TrajectoriesSource

from service.engine.requests import Sampling
from service.map_sources.interface import Generations, SourceContext, TextReader
from service.map_sources.texts import Text, TextParts, batches
from service.store.maps.points import shown
from service.store.maps.store import site_of


async def add_trajectories(source: TrajectoriesSource, *, name: str, to: SourceContext) -> None:
    """Points of one group belong to one generation, input and answer, in order. Added tokens give no points."""
    spec = source.trajectories
    reader = await to.reader.under(spec.prompt_ref)
    parts = await to.reader.run_blocking(lambda: _inputs(spec, to))
    to.points.require_room(len(parts) * len(to.layers))
    texts = _with_room(await reader.tokenize(parts), reader=reader, to=to)
    limits = reader.batch_limits(n_layers=len(to.layers))
    sampling = Sampling(temperature=spec.temperature, seed=spec.seed)
    first = 0

    def room(text: Text) -> int:
        return min(spec.max_tokens, reader.n_positions - len(text.ids))

    for max_tokens, group in groupby(texts, key=room):
        for batch in batches(group, limits=limits, length=lambda text: len(text.ids) + room(text)):
            found = await reader.generate(batch, layers=to.layers, max_tokens=max_tokens, sampling=sampling)
            await _add_batch(found, batch, first=first, name=name, prompt_label=reader.prompt_label, to=to)
            first += len(batch)
            to.progress(first / len(texts))


def _inputs(spec: Trajectories, to: SourceContext) -> list[TextParts]:
    if spec.inputs is not None:
        return [TextParts(begin=text, index=i) for i, text in enumerate(spec.inputs)]
    assert spec.dataset is not None  # the source was validated
    examples = to.datasets.examples(spec.dataset, split=spec.split, n=spec.n, seed=spec.seed)
    return [TextParts.of_example(example, include_target=False) for example in examples]


def _with_room(texts: list[Text], *, reader: TextReader, to: SourceContext) -> list[Text]:
    """The inputs that are not empty and can be continued by at least one token."""
    kept = [text for text in texts if 0 < len(text.ids) < reader.max_tokens]
    if len(kept) < len(texts):
        to.reader.inputs_left_out(len(texts) - len(kept), n_inputs=len(texts))
    return kept


async def _add_batch(
    found: Generations, batch: list[Text], *, first: int, name: str, prompt_label: str | None, to: SourceContext
) -> None:
    offsets = found.tensors["row_offsets"].tolist()
    for i, (text, info) in enumerate(zip(batch, found.infos, strict=True)):
        rows = np.arange(offsets[i], offsets[i + 1])
        positions = found.tensors["positions"][rows]
        is_own = np.array([position >= len(text.own) or text.own[position] for position in positions], bool)
        rows, positions = rows[is_own], positions[is_own]
        tokens = await to.reader.token_texts(found.tensors["token_ids"][rows].tolist())
        for layer in to.layers:
            to.points.add(
                layer,
                found.tensors[site_of(layer)][rows],
                source=name,
                role="state",
                positions=positions,
                text=shown(text.text + info["text"]),
                token=tokens,
                group=f"{name} {first + i}",
                task=text.task,
                prompt=prompt_label,
            )
