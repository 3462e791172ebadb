"""States of generations, token by token."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from promptatlas.types.maps import Trajectories, TrajectoriesSource

from service.api.engine_reads.states import Ids
from service.api.map_sources.collector import Collector, shown_ref
from service.engine.requests import Sampling
from service.store.artifacts.tensor_codec import TensorFile
from service.store.maps.points import shown, task_of
from service.store.maps.store import site_of

Inputs = Sequence[tuple[str, str | None]]
"""Texts to go on from, with the tasks of their records."""


async def add_trajectories(source: TrajectoriesSource, *, name: str, to: Collector) -> None:
    """Points of one group are one generation's, input and answer, in order."""
    asked = source.trajectories
    choice = await to.choose(asked.prompt_ref)
    inputs = await asyncio.to_thread(_inputs, asked, to)
    to.points.check_room(len(inputs) * len(to.layers))
    ids = await to.states.token_ids([text for text, _ in inputs])
    batches = to.states.trajectories(
        ids,
        layers=to.layers,
        max_tokens=asked.max_tokens,
        sampling=Sampling(temperature=asked.temperature, seed=asked.seed),
        prompt=choice.prompt,
    )
    async for first, file in batches:
        await _add(file, first, inputs=inputs, ids=ids, name=name, ref=shown_ref(choice), to=to)


def _inputs(asked: Trajectories, to: Collector) -> Inputs:
    if asked.inputs is not None:
        return [(text, None) for text in asked.inputs]
    assert asked.dataset is not None  # the source was checked
    examples = to.services.datasets.examples(asked.dataset, split=asked.split, n=asked.n, seed=asked.seed)
    return [
        (example.text if example.text is not None else example.input or "", task_of(example.record))
        for example in examples
    ]


async def _add(
    file: TensorFile, first: int, *, inputs: Inputs, ids: Sequence[Ids], name: str, ref: str | None, to: Collector
) -> None:
    offsets = file.tensors["row_offsets"].tolist()
    infos: Sequence[Any] = file.metadata["inputs"]
    for i, info in enumerate(infos, start=first):
        rows = np.arange(offsets[i - first], offsets[i - first + 1])
        positions = file.tensors["positions"][rows]
        own = to.own(positions, n_input=len(ids[i]))
        rows, positions = rows[own], positions[own]
        text, task = inputs[i]
        tokens = await to.token_texts(file.tensors["token_ids"][rows].tolist())
        for layer in to.layers:
            to.points.add(
                layer,
                file.tensors[site_of(layer)][rows],
                source=name,
                role="state",
                positions=positions,
                text=shown(text + info["text"]),
                token=tokens,
                group=f"{name} {i}",
                task=task,
                prompt=ref,
            )
