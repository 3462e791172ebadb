"""States of a dataset's texts, token by token, read through the API."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from promptatlas import Client
from promptatlas.types import Split

Array = npt.NDArray[np.float32]

A_REQUEST: Final = 4
"""Texts per request, so that an answer stays below the server's limit."""

MAX_TOKENS: Final = 200
"""Of a text; longer ones are cut."""


@dataclass(frozen=True, kw_only=True)
class TextStates:
    """The states of one text's tokens `[n, d_model]` by layer, without its first token, which can be an attention sink."""

    by_layer: dict[int, Array]


def texts_of(client: Client, *, dataset: str, split: Split, n: int) -> list[str]:
    """The first texts of a split: input followed by target, or running text."""
    items = client.datasets.peek(dataset, split=split, limit=n).data
    return [item.text if item.text is not None else f"{item.input or ''}{item.target or ''}" for item in items]


def read_states(
    client: Client, *, model: str, texts: Sequence[str], layers: Sequence[int], prefix: str = ""
) -> list[TextStates]:
    """States at the inputs of blocks, of the texts' own tokens. prefix: read in front of every text, and left out.

    Prefix and text are tokenised separately, so the tokens of a text are the same with and without it.
    """
    front = _ids(client, model=model, text=prefix) if prefix else []
    found: list[TextStates] = []
    for start in range(0, len(texts), A_REQUEST):
        own = [_ids(client, model=model, text=text)[:MAX_TOKENS] for text in texts[start : start + A_REQUEST]]
        own = [ids for ids in own if len(ids) > 1]
        if not own:
            continue
        inputs = [[*front, *ids] for ids in own]
        with client.activations.get(model=model, inputs=inputs, sites=["resid_pre"], layers=list(layers)) as cache:
            states = {layer: np.array(cache["resid_pre", layer], np.float32) for layer in layers}
        ends = np.cumsum([len(ids) for ids in inputs])
        for end, ids in zip(ends, own, strict=True):
            begin = end - len(ids) + 1
            found.append(TextStates(by_layer={layer: states[layer][begin:end] for layer in layers}))
    return found


def tokens_at(states: Sequence[TextStates], *, layer: int) -> Array:
    """The tokens of all texts at one layer."""
    return np.concatenate([one.by_layer[layer] for one in states])


def means_at(states: Sequence[TextStates], *, layer: int) -> Array:
    """The mean state of each text at one layer."""
    return np.stack([one.by_layer[layer].mean(axis=0) for one in states])


def _ids(client: Client, *, model: str, text: str) -> list[int]:
    return list(client.models.tokenize(model, prompt=text, add_special_tokens=False).tokens)
