"""States of generations, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from promptatlas.types.maps import Trajectories, TrajectoriesSource

from service.engine.requests import CaptureSpec, Generate, Sampling, Tensors
from service.store.maps.points import shown
from service.store.maps.store import site_of
from workers.inputs.limits import engine_limits
from workers.maps.layer_points import PointCollector
from workers.states.prompt_choice import choose_prompt
from workers.states.reader import BATCH_BYTES, StateReader
from workers.states.texts import Encoder, Text


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Inputs that may all be continued by ``max_tokens`` tokens. first: number of the first one."""

    texts: Sequence[Text]
    first: int
    max_tokens: int


def add_trajectories(source: TrajectoriesSource, *, name: str, to: PointCollector) -> None:
    """Points of one group are one generation's, input and answer, in order; tokens that were added to it are no points."""
    asked = source.trajectories
    prompt = choose_prompt(to.run.prompts, asked.prompt_ref, model=to.model)
    n_virtual = 0 if prompt is None else prompt.prompt.n_virtual
    encoder = Encoder(to.model, n_virtual=n_virtual)
    reader = StateReader(
        to.model,
        prompt=None if prompt is None else prompt.prompt,
        limits=engine_limits(to.run.settings),
        check=to.run.check,
    )
    texts = _inputs(asked, encoder=encoder, to=to)
    room = to.model.n_positions - n_virtual
    n_fit = max(1, BATCH_BYTES // (4 * to.model.d_model * to.model.architecture.n_layers))
    for batch in _batches(texts, max_tokens=asked.max_tokens, room=room, n_fit=n_fit):
        found = reader.run(
            Generate(
                request_id=reader.request_id(),
                inputs=tuple(text.ids for text in batch.texts),
                max_tokens=batch.max_tokens,
                sampling=Sampling(temperature=asked.temperature, seed=asked.seed),
                prompt=reader.choice,
                capture=CaptureSpec(sites=tuple(map(site_of, to.layers))),
            )
        )
        _add(found, batch, name=name, ref=None if prompt is None else prompt.ref, encoder=encoder, to=to)
        to.tell((batch.first + len(batch.texts)) / len(texts))


def _inputs(asked: Trajectories, *, encoder: Encoder, to: PointCollector) -> list[Text]:
    """The texts to go on from, each with room for a token behind it."""
    if asked.inputs is not None:
        texts = list(encoder.texts(asked.inputs))
    else:
        assert asked.dataset is not None  # the spec was checked
        examples = to.run.datasets.examples(asked.dataset, split=asked.split, n=asked.n, seed=asked.seed)
        texts = list(encoder.examples(examples, include_target=False))
    kept = [text for text in texts if 0 < len(text.ids) < encoder.longest]
    if len(kept) < len(texts):
        n = len(texts) - len(kept)
        to.run.log(f"{n} of {len(texts)} inputs are left out: empty, or without room behind them.", level="warning")
    return kept


def _batches(texts: Sequence[Text], *, max_tokens: int, room: int, n_fit: int) -> Iterator[_Batch]:
    """Inputs in order, as many at once as have ``n_fit`` tokens with their answers, all with the same room."""
    start = 0
    while start < len(texts):
        here = min(max_tokens, room - len(texts[start].ids))
        end, n_tokens = start, 0
        while end < len(texts):
            n_own = len(texts[end].ids) + here
            is_other = min(max_tokens, room - len(texts[end].ids)) != here
            if end > start and (is_other or n_tokens + n_own > n_fit):
                break
            n_tokens += n_own
            end += 1
        yield _Batch(texts=texts[start:end], first=start, max_tokens=here)
        start = end


def _add(found: Tensors, batch: _Batch, *, name: str, ref: str | None, encoder: Encoder, to: PointCollector) -> None:
    infos: Sequence[Mapping[str, Any]] = found.metadata["inputs"]  # type: ignore[assignment]
    offsets = found.tensors["row_offsets"].tolist()
    positions, ids = found.tensors["positions"].numpy(), found.tensors["token_ids"].tolist()
    for i, (text, info) in enumerate(zip(batch.texts, infos, strict=True)):
        rows = np.arange(offsets[i], offsets[i + 1])
        is_own = np.array([position >= len(text.own) or text.own[position] for position in positions[rows]], bool)
        kept = rows[is_own]
        for layer in to.layers:
            to.points[layer].add(
                found.tensors[site_of(layer)].numpy()[kept],
                source=name,
                role="state",
                positions=positions[kept],
                text=shown(text.text + info["text"]),
                token=[encoder.token_text(ids[row]) for row in kept],
                group=f"{name} {batch.first + i}",
                task=text.task,
                prompt=ref,
            )
