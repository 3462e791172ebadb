"""Token embeddings, one point per token."""

from __future__ import annotations

from promptatlas.types.maps import EmbeddingsMapSource

from service.map_sources.interface import SourceContext
from service.store.maps.store import chosen_tokens

_CHUNK = 4096


async def add_vocabulary(source: EmbeddingsMapSource, *, name: str, to: SourceContext) -> None:
    """Output of the model's embedding module for each token that a text can have. Only at layer 0."""
    if 0 not in to.layers:
        return
    ids = chosen_tokens(await to.reader.n_tokens(), n=source.n, seed=source.seed)
    to.points.require_room(len(ids))
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK].tolist()
        vectors = await to.reader.embeddings(chunk)
        to.points.add(0, vectors, source=name, role="embedding", token=await to.reader.token_texts(chunk))
        to.progress((start + len(chunk)) / len(ids))
