"""The points that priors are fitted to: clouds of embeddings or activations, a text's states, tuned prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import torch
from promptatlas.types.datasets import Split
from promptatlas.types.prior_sources import DatasetPoints, EmbeddingsSource, Source

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.shapes import Float, Tensor
from service.errors import EngineFault, InvalidRequest
from service.store.datasets.items import DatasetInfo, Example
from service.store.prompts.manifests import PromptManifest
from service.store.prompts.native_format import PromptFile
from workers.priors.distributions.moments import no_check
from workers.priors.sources.cache import Cache
from workers.priors.sources.dataset_reader import Reader, Tokens
from workers.priors.sources.reservoir import Reservoir

MAX_POINTS_BYTES = 256 << 20
"""Limit on one cloud in float32; a uniform sample of a larger cloud is kept."""

MAX_KEPT_BYTES = 1 << 30

Fitted = TypeVar("Fitted")


class Datasets(Protocol):
    """The part of the dataset store that sources use."""

    def get(self, name: str, /) -> DatasetInfo:
        """The facts of a dataset."""

    def examples(
        self, name: str, /, *, split: Split | None = None, n: int | None = None, seed: int | None = None
    ) -> Iterable[Example]:
        """A seeded sample of the records of a split."""


class Prompts(Protocol):
    """The part of the prompt store that sources use."""

    def resolve(self, ref: str, /, *, base: str | None = None, allows_posterior: bool = False) -> PromptManifest:
        """The version that a reference selects."""

    def load_posterior(self, manifest: PromptManifest, /) -> PromptFile:
        """The tensors of a version, which may be a posterior."""


class Sources:
    """The clouds of one model, with a cache.

    Args:
        datasets, prompts: the stores.
        cache: of clouds; several ``Sources`` of a process can share it.
        check: called between batches; raises to stop a long read or fit.
        max_points_bytes: see :data:`MAX_POINTS_BYTES`.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        datasets: Datasets,
        prompts: Prompts,
        cache: Cache | None = None,
        check: Callable[[], None] = no_check,
        max_points_bytes: int = MAX_POINTS_BYTES,
    ) -> None:
        self.model = model
        self.check = check
        self._datasets = datasets
        self._prompts = prompts
        self._points = cache if cache is not None else Cache(max_bytes=MAX_KEPT_BYTES)
        self._fitted = Cache(max_bytes=MAX_KEPT_BYTES)
        self._max_points = max(max_points_bytes // (4 * model.d_model), 2)
        self._reader: Reader | None = None

    def points(self, source: Source, *, layer: int | None) -> Float[Tensor, "n d_model"]:
        """The cloud of a source, float32 on the CPU. It is shared: do not write to it.

        Args:
            layer: the layer of the vectors, for a source without a layer; None: the token embeddings.

        Raises:
            InvalidRequest: the model has no such layer, or the texts have no tokens.
            NotFound, DamagedArtifact: from the dataset store.
        """
        if isinstance(source, EmbeddingsSource):
            if isinstance(source.embeddings, str):
                return self._keep(("vocabulary",), self._vocabulary)
            return self._dataset(source.embeddings, layer=None)
        named = source.activations.layer
        return self._dataset(source.activations, layer=layer if named is None else self.layer(named))

    def text_states(self, text: str, *, layer: int | None) -> Float[Tensor, "tokens d_model"]:
        """States of a text's tokens at a block's input, or their embeddings; InvalidRequest if it has no tokens."""
        tokens = self._read.text(text)
        if not any(tokens.own):
            raise InvalidRequest("the text has no tokens.", loc=("prior", "text"))
        if layer is None:
            return self._read.embeddings(_own_ids(tokens))
        return next(self._read.states([tokens], layer=layer))

    def prompt(self, ref: str) -> Prompt:
        """A tuned prompt of this model.

        Raises:
            NotFound, DamagedArtifact: from the prompt store.
            InvalidRequest: it was tuned for another model, or other weights.
        """
        (prompt,) = self._load(ref, allows_posterior=False)
        return prompt

    def members(self, ref: str) -> list[Prompt]:
        """The members of a posterior of this model, or the prompt itself; raises as ``prompt``."""
        return self._load(ref, allows_posterior=True)

    def _load(self, ref: str, *, allows_posterior: bool) -> list[Prompt]:
        card = self.model.card
        manifest = self._prompts.resolve(ref, base=card.name, allows_posterior=allows_posterior)
        if (manifest.base, manifest.base_revision) != (card.name, card.revision):
            raise InvalidRequest(
                f"prompt {ref!r} is for revision {manifest.base_revision} of {manifest.base!r}; "
                f"this run has revision {card.revision} of {card.name!r}.",
                loc=("prior",),
            )
        content = self._prompts.load_posterior(manifest).content
        contents = [content] if content.member_kind is None else map(content.member, range(content.n_members))
        return [
            from_tensors(
                {name: torch.from_numpy(values.copy()) for name, values in each.tensors.items()}, where=each.where
            )
            for each in contents
        ]

    def fitted(self, key: object, *, make: Callable[[], Fitted]) -> Fitted:
        """The object that was fitted under ``key`` before, or ``make()``."""
        return self._fitted.get(key, make=make)

    def layer(self, layer: int) -> int:
        """A layer counted from 0; negative layers count from the end. InvalidRequest if the model has no such layer."""
        n_layers = self.model.architecture.n_layers
        if not -n_layers <= layer < n_layers:
            raise InvalidRequest(f"layer {layer}: the model has layers 0 to {n_layers - 1}.", loc=("layer",))
        return layer % n_layers

    @property
    def _read(self) -> Reader:
        if self._reader is None:
            self._reader = Reader(self.model)
        return self._reader

    def _keep(self, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        card = self.model.card
        return self._points.get((card.name, card.revision, card.dtype, *key), make=lambda: _checked(make()))

    def _vocabulary(self) -> Tensor:
        # Rows beyond the tokenizer's tokens pad the matrix to a round size.
        n = self.model.catalogue.vocab_size
        n = min(n, len(self.model.tokenizer)) if self.model.tokenizer is not None else n
        return self._read.embeddings(torch.arange(n))

    def _dataset(self, points: DatasetPoints, *, layer: int | None) -> Tensor:
        sha256 = self._datasets.get(points.dataset).sha256
        key = ("dataset", sha256, points.split, points.n, points.seed, layer)
        return self._keep(key, lambda: self._read_dataset(points, layer=layer))

    def _read_dataset(self, points: DatasetPoints, *, layer: int | None) -> Tensor:
        reservoir = Reservoir(max_rows=self._max_points, seed=points.seed)
        if layer is None:
            # The reservoir holds ids: only those that are kept need embeddings.
            for tokens in self._tokens(points):
                reservoir.add(_own_ids(tokens)[:, None])
        else:
            for states in self._read.states(self._tokens(points), layer=layer):
                reservoir.add(states)
        if reservoir.n_seen == 0:
            raise InvalidRequest(
                f"the {points.split} split of {points.dataset!r} has no tokens to fit to.", loc=("prior", "fit")
            )
        rows = reservoir.rows()
        return rows if layer is not None else self._read.embeddings(rows[:, 0])

    def _tokens(self, points: DatasetPoints) -> Iterator[Tokens]:
        examples = self._datasets.examples(points.dataset, split=points.split, n=points.n, seed=points.seed)
        for example in examples:
            self.check()
            tokens = self._read.example(example)
            if any(tokens.own):
                yield tokens


def _own_ids(tokens: Tokens) -> Tensor:
    return torch.tensor([i for i, own in zip(tokens.ids, tokens.own, strict=True) if own], dtype=torch.long)


def _checked(points: Tensor) -> Tensor:
    if not bool(points.isfinite().all()):
        raise EngineFault("the model's states hold NaN or infinite values; load it in a wider dtype.")
    return points
