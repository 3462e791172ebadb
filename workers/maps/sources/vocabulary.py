"""The embedding matrix, a point a token."""

from __future__ import annotations

import numpy as np
import torch
from promptatlas.types.maps import EmbeddingsMapSource

from service.store.maps.store import chosen_tokens
from workers.maps.layer_points import PointCollector
from workers.states.texts import Encoder

_CHUNK = 16384


def add_vocabulary(source: EmbeddingsMapSource, *, name: str, to: PointCollector) -> None:
    """What the model's embedding module makes of each token that a text can have; nothing above layer 0."""
    if 0 not in to.points:
        return
    encoder = Encoder(to.model)
    n_there = min(to.model.catalogue.vocab_size, encoder.n_tokens)
    ids = chosen_tokens(n_there, n=source.n, seed=source.seed)
    for start in range(0, len(ids), _CHUNK):
        to.run.check()
        chunk = ids[start : start + _CHUNK]
        with torch.inference_mode():
            embedded = to.model.architecture.embed(torch.from_numpy(chunk).to(to.model.device)[None])[0]
        tokens = list(map(encoder.token_text, chunk.tolist()))
        vectors = np.array(embedded.float().cpu().numpy())
        to.points[0].add(vectors, source=name, role="embedding", token=tokens)
        to.tell((start + len(chunk)) / len(ids))
