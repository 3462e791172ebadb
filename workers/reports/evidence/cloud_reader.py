"""Reader of clouds and trajectories: runs the model on a dataset's texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from service.engine.model.hosted_model import HostedModel
from service.engine.requests import CaptureSpec, Generate, Sampling
from service.errors import InvalidRequest
from service.map_sources.texts import Text
from service.planning.checks.examples import held_out_split
from service.store.datasets.store import DatasetStore
from service.store.maps.store import site_of
from workers.reports.evidence.evidence import Floats, TaskCloud, TextStatistics, Trajectories
from workers.states.reader import StateReader
from workers.states.texts import Encoder

MAX_TOKENS_A_LAYER = 4000
"""Token states kept per dataset and layer, a limit because distances are computed over all pairs."""

MIN_GENERATED_TOKENS = 5
"""If the median generation is shorter, trajectories include the input."""


class CloudReader:
    """Reads states of the bare model.

    Args:
        check: Called before every forward; may raise to stop.
    """

    def __init__(self, model: HostedModel, *, datasets: DatasetStore, check: Callable[[], None], seed: int) -> None:
        self._model = model
        self._datasets = datasets
        self._encoder = Encoder(model)
        self._reader = StateReader(model, check=check)
        self._seed = seed
        self._n_tokens = min(self._encoder.n_tokens, model.catalogue.vocab_size)

    def vocabulary(self) -> tuple[Floats, list[str]]:
        """Embeddings of all tokens that the tokenizer can produce, and the tokens' texts."""
        n = self._n_tokens
        with torch.inference_mode():
            ids = torch.arange(n, device=self._model.device)
            table: Floats = self._model.architecture.embed(ids[None])[0].float().cpu().numpy().copy()
        return table, [self._encoder.token_text(index) for index in range(n)]

    def cloud(self, dataset: str, *, layers: Sequence[int], n: int) -> dict[int, TaskCloud]:
        """States of ``n`` sampled texts by layer: the mean of each text, and a sample of tokens."""
        texts = self._texts(dataset, n=n, include_target=True)
        means: dict[int, list[Floats]] = {layer: [] for layer in layers}
        tokens: dict[int, list[Floats]] = {layer: [] for layer in layers}
        total = sum(text.n_own for text in texts)
        if total < 2:
            raise InvalidRequest(f"Dataset {dataset!r} has no text to read.", loc=("datasets",))
        kept = np.zeros(total, dtype=np.bool_)
        kept[np.random.default_rng(self._seed).permutation(total)[:MAX_TOKENS_A_LAYER]] = True
        n_read = 0
        for states in self._reader.states(texts, layers=layers, per="token"):
            n_batch = len(states.rows)
            # Other tokens are dropped at once: thirty layers of all tokens are gigabytes.
            chosen = kept[n_read : n_read + n_batch]
            n_read += n_batch
            for layer in layers:
                tokens[layer].append(states.vectors[layer][chosen])
                means[layer].append(_means(states.vectors[layer], rows=states.rows))
        return {
            layer: TaskCloud(texts=np.concatenate(means[layer]), tokens=np.concatenate(tokens[layer]))
            for layer in layers
        }

    def text_statistics(self, dataset: str, *, n: int) -> TextStatistics:
        """Token counts and share of letters of the texts that ``cloud`` reads."""
        texts = self._texts(dataset, n=n, include_target=True)
        ids = [token for text in texts for token, is_own in zip(text.ids, text.own, strict=True) if is_own]
        characters = [character for text in texts for character in text.text if not character.isspace()]
        share = sum(map(str.isalpha, characters)) / max(1, len(characters))
        return TextStatistics(counts=np.bincount(ids, minlength=self._n_tokens).astype(np.int64), share_letters=share)

    def trajectories(self, dataset: str, *, layers: Sequence[int], n: int, max_tokens: int) -> Trajectories:
        """States of the bare model's greedy continuations of a dataset's inputs, token by token.

        If most continuations are short, the trajectories include the input tokens.
        """
        texts = [text for text in self._texts(dataset, n=n, include_target=False) if text.n_own]
        max_input = self._model.n_positions - max_tokens
        texts = [text.cut(max(1, max_input)) for text in texts]
        if not texts:
            raise InvalidRequest(f"Dataset {dataset!r} has no text to continue.", loc=("datasets",))
        tensors = self._generate(texts, layers=layers, max_tokens=max_tokens)
        offsets, generated = tensors["row_offsets"].tolist(), tensors["generated"].numpy()
        spans = list(pairwise(offsets))
        short = np.median([generated[begin:end].sum() for begin, end in spans]) < MIN_GENERATED_TOKENS
        kept = _points(texts, spans=spans) if short else generated
        by_layer: dict[int, list[Floats]] = {}
        for layer in layers:
            states = tensors[site_of(layer)].float().numpy()
            by_layer[layer] = [states[begin:end][kept[begin:end]] for begin, end in spans]
        return Trajectories(dataset=dataset, part="input and answer" if short else "generated", by_layer=by_layer)

    def _texts(self, dataset: str, *, n: int, include_target: bool) -> list[Text]:
        info = self._datasets.get(dataset)
        split = held_out_split(info)
        if split is None:
            return []
        examples = self._datasets.examples(dataset, split=split, n=min(n, info.splits[split]), seed=self._seed)
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


def _points(texts: Sequence[Text], *, spans: Sequence[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    """For each row of generations with their inputs: whether it is a point, like the own tokens of an input."""
    kept = np.ones(spans[-1][1], dtype=np.bool_)
    for text, (begin, _) in zip(texts, spans, strict=True):
        kept[begin : begin + len(text.own)] = text.own
    return kept


def _means(states: Floats, *, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats:
    starts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    counts = np.diff(np.r_[starts, len(rows)])
    means: Floats = (np.add.reduceat(states, starts, axis=0, dtype=np.float64) / counts[:, None]).astype(np.float32)
    return means
