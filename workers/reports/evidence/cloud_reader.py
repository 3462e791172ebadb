"""Clouds and walks, read from the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from promptatlas.types.datasets import Split

from service.engine.model.hosted_model import HostedModel
from service.engine.requests import CaptureSpec, Generate, Sampling
from service.errors import InvalidRequest
from service.store.datasets.store import DatasetStore
from service.store.maps.store import site_of
from workers.reports.evidence.evidence import Floats, TaskCloud, Walks, Wording
from workers.states.reader import StateReader
from workers.states.texts import Encoder, Text

SPLITS: tuple[Split, ...] = ("test", "validation", "train")
"""Where texts are taken from: the first of these that has any, so that what was tuned on is read last."""

MAX_TOKENS_A_LAYER = 4000
"""Of a dataset's tokens, so many at most stand for the cloud at each layer: distances are taken over all pairs."""

MIN_WALK = 5
"""Generations shorter than this, in tokens, say little about how a walk goes on."""


class CloudReader:
    """Reads one model's states without a prompt.

    Args:
        check: called before every forward; may raise to stop.
    """

    def __init__(self, model: HostedModel, *, datasets: DatasetStore, check: Callable[[], None], seed: int) -> None:
        self._model = model
        self._datasets = datasets
        self._encoder = Encoder(model)
        self._reader = StateReader(model, check=check)
        self._seed = seed
        self._n_tokens = min(self._encoder.n_tokens, model.catalogue.vocab_size)

    def vocabulary(self) -> tuple[Floats, list[str]]:
        """Embeddings of all tokens that texts can be made of, and the tokens' texts."""
        n = self._n_tokens
        with torch.inference_mode():
            ids = torch.arange(n, device=self._model.device)
            table: Floats = self._model.architecture.embed(ids[None])[0].float().cpu().numpy().copy()
        return table, [self._encoder.token_text(index) for index in range(n)]

    def cloud(self, dataset: str, *, layers: Sequence[int], n: int) -> dict[int, TaskCloud]:
        """States of the first ``n`` of a seeded choice of texts, by layer: means of texts, and a sample of tokens."""
        texts = self._texts(dataset, n=n, include_target=True)
        means: dict[int, list[Floats]] = {layer: [] for layer in layers}
        tokens: dict[int, list[Floats]] = {layer: [] for layer in layers}
        for states in self._reader.states(texts, layers=layers, per="token"):
            for layer in layers:
                tokens[layer].append(states.vectors[layer])
                means[layer].append(_means(states.vectors[layer], rows=states.rows))
        total = sum(map(len, tokens[layers[0]]))
        if total < 2:
            raise InvalidRequest(f"Dataset {dataset!r} has no text to read.", loc=("datasets",))
        kept = np.sort(np.random.default_rng(self._seed).permutation(total)[:MAX_TOKENS_A_LAYER])
        return {
            layer: TaskCloud(texts=np.concatenate(means[layer]), tokens=np.concatenate(tokens[layer])[kept])
            for layer in layers
        }

    def wording(self, dataset: str, *, n: int) -> Wording:
        """What the texts that ``cloud`` reads are made of."""
        texts = self._texts(dataset, n=n, include_target=True)
        ids = [token for text in texts for token, is_own in zip(text.ids, text.own, strict=True) if is_own]
        characters = [character for text in texts for character in text.text if not character.isspace()]
        share = sum(map(str.isalpha, characters)) / max(1, len(characters))
        return Wording(counts=np.bincount(ids, minlength=self._n_tokens).astype(np.int64), share_letters=share)

    def walks(self, dataset: str, *, layers: Sequence[int], n: int, max_tokens: int) -> Walks:
        """What the bare model goes on with after a dataset's inputs, greedily, token by token.

        Where most answers are short, the input's tokens are part of the walk, since the answer alone would be none.
        """
        texts = [text for text in self._texts(dataset, n=n, include_target=False) if text.n_own]
        room = self._model.n_positions - max_tokens
        texts = [text.cut(max(1, room)) for text in texts]
        if not texts:
            raise InvalidRequest(f"Dataset {dataset!r} has no text to go on from.", loc=("datasets",))
        tensors = self._generate(texts, layers=layers, max_tokens=max_tokens)
        offsets, generated = tensors["row_offsets"].tolist(), tensors["generated"].numpy()
        spans = list(pairwise(offsets))
        short = np.median([generated[begin:end].sum() for begin, end in spans]) < MIN_WALK
        by_layer: dict[int, list[Floats]] = {}
        for layer in layers:
            states = tensors[site_of(layer)].float().numpy()
            by_layer[layer] = [
                states[begin:end] if short else states[begin:end][generated[begin:end]] for begin, end in spans
            ]
        return Walks(dataset=dataset, part="input and answer" if short else "generated", by_layer=by_layer)

    def _texts(self, dataset: str, *, n: int, include_target: bool) -> list[Text]:
        info = self._datasets.get(dataset)
        split = next((name for name in SPLITS if info.splits.get(name, 0)), SPLITS[0])
        n_there = info.splits.get(split, 0)
        examples = self._datasets.examples(dataset, split=split, n=min(n, n_there), seed=self._seed) if n_there else []
        return list(self._encoder.examples(examples, include_target=include_target))

    def _generate(self, texts: Sequence[Text], *, layers: Sequence[int], max_tokens: int) -> Mapping[str, torch.Tensor]:
        request = Generate(
            request_id=self._reader.request_id(),
            inputs=tuple(text.ids for text in texts),
            max_tokens=max_tokens,
            sampling=Sampling(temperature=0.0),
            capture=CaptureSpec(sites=tuple(map(site_of, layers))),
            include_input=True,
        )
        return self._reader.run(request).tensors


def _means(states: Floats, *, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats:
    starts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    counts = np.diff(np.r_[starts, len(rows)])
    means: Floats = (np.add.reduceat(states, starts, axis=0, dtype=np.float64) / counts[:, None]).astype(np.float32)
    return means
