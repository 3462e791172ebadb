"""Sources: the clouds of vectors that priors are fitted to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from promptatlas.types.datasets import DatasetRef, Split
from promptatlas.types.wire import RequestBody


class DatasetPoints(RequestBody):
    """Tokens of a dataset. n: number of texts that are read; seed: of the choice of texts."""

    dataset: DatasetRef
    split: Split = "train"
    n: int = Field(default=512, ge=2, le=1_000_000)
    seed: int = Field(default=0, ge=0)


class LayerPoints(DatasetPoints):
    """States of a dataset's tokens: ``resid_pre`` of ``layer``; None: the layer that the drawn vectors go to."""

    layer: int | None = None


class EmbeddingsSource(RequestBody):
    """Rows of the embedding matrix: each token once, or token embeddings as they occur in a dataset."""

    embeddings: Literal["vocabulary"] | DatasetPoints

    @property
    def dataset(self) -> str | None:
        """Name of the dataset; None for the vocabulary."""
        return None if isinstance(self.embeddings, str) else self.embeddings.dataset

    @property
    def label(self) -> str:
        """In a few words, e.g. ``squad embeddings``."""
        return "vocabulary" if self.dataset is None else f"{self.dataset} embeddings"


class ActivationsSource(RequestBody):
    """Activations at ``resid_pre`` of a layer, where the drawn vectors go."""

    activations: LayerPoints

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.activations.dataset

    @property
    def label(self) -> str:
        """In a few words, e.g. ``squad activations``."""
        return f"{self.dataset} activations"


Source = EmbeddingsSource | ActivationsSource
"""A cloud of vectors `[n_points, d_model]` that a prior is fitted to."""
