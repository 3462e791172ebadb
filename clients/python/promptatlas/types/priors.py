"""Priors: the distributions that a prompt's vectors are drawn from before tuning (arXiv 2412.18582, and beyond it)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from promptatlas.types.datasets import DatasetRef, Split
from promptatlas.types.references import Reference
from promptatlas.types.wire import RequestBody

Shrinkage = Literal["auto", "none", "ledoit-wolf", "oas"]
"""How a covariance of few samples is made regular; ``auto``: Ledoit-Wolf when there are fewer than ten per dimension."""


class DatasetPoints(RequestBody):
    """Tokens of a dataset. n: how many texts are read; seed: which."""

    dataset: DatasetRef
    split: Split = "train"
    n: int = Field(default=512, ge=2, le=1_000_000)
    seed: int = Field(default=0, ge=0)


class LayerPoints(DatasetPoints):
    """States of a dataset's tokens: ``resid_pre`` of ``layer``; None: the layer that the vectors go to."""

    layer: int | None = None


class EmbeddingsSource(RequestBody):
    """Rows of the embedding matrix: each token once, or token embeddings as they occur in a dataset."""

    embeddings: Literal["vocabulary"] | DatasetPoints


class ActivationsSource(RequestBody):
    """``resid_pre`` at a layer: what stands where the vectors will go."""

    activations: LayerPoints


Source = EmbeddingsSource | ActivationsSource
"""A cloud of vectors `[n_points, d_model]` that a prior is fitted to."""


class IsotropicPrior(RequestBody):
    """N(0, std² I)."""

    kind: Literal["isotropic"] = "isotropic"
    std: float = Field(default=0.02, gt=0)


class XavierPrior(RequestBody):
    """Uniform within ±sqrt(6 / (n_virtual + d_model)): Glorot and Bengio (2010) over `[n_virtual, d_model]`."""

    kind: Literal["xavier"] = "xavier"


class VocabularyPrior(RequestBody):
    """Embeddings of tokens drawn evenly from the vocabulary."""

    kind: Literal["vocabulary"] = "vocabulary"


class TextPrior(RequestBody):
    """The states of a text's own tokens, repeated or cut to the number of vectors."""

    kind: Literal["text"] = "text"
    text: str = Field(min_length=1, max_length=100_000)


class GaussianPrior(RequestBody):
    """N(mu, scale·Sigma) with the source's mean and covariance (1/N)."""

    kind: Literal["gaussian"] = "gaussian"
    fit: Source
    scale: float = Field(default=1.0, gt=0)
    shrinkage: Shrinkage = "auto"


class ExclusionPrior(RequestBody):
    """Draws of N(mu, c^(2/d)·Sigma) that avoid the dense core of N(mu, Sigma)."""

    kind: Literal["exclusion"] = "exclusion"
    fit: Source
    c: float = Field(default=5.0, gt=1)
    shrinkage: Shrinkage = "auto"


class InterpolationPrior(RequestBody):
    """a·x + (1−a)·y with x from one prior, y from another, and a even in [0, 1]. In Python ``from`` is ``from_``."""

    model_config = ConfigDict(populate_by_name=True)
    kind: Literal["interpolation"] = "interpolation"
    from_: Prior = Field(alias="from")
    to: Prior


class KnnPrior(RequestBody):
    """Regions of low density: of candidates around the source, those farthest from their k-th nearest neighbour.

    candidates: how many are drawn for each one that is kept. spread: their distance, in units of the source's own
    standard deviation.
    """

    kind: Literal["knn"] = "knn"
    fit: Source
    k: int = Field(default=10, ge=1, le=10_000)
    candidates: int = Field(default=16, ge=2, le=1024)
    spread: float = Field(default=1.0, gt=0)


class VaePrior(RequestBody):
    """Samples of a variational autoencoder trained on the source.

    free_bits: nats of each latent dimension that the divergence does not count. warmup: share of the epochs before the
    divergence has its full weight. lr: of Adam, falling as a cosine. seed: of the training, not of the draws.
    """

    kind: Literal["vae"] = "vae"
    fit: Source
    d_latent: int = Field(default=32, ge=1, le=4096)
    d_hidden: int = Field(default=256, ge=1, le=16_384)
    epochs: int = Field(default=60, ge=1, le=10_000)
    lr: float = Field(default=1e-3, gt=0)
    batch_size: int = Field(default=128, ge=2, le=65_536)
    free_bits: float = Field(default=0.1, ge=0)
    warmup: float = Field(default=0.5, ge=0, le=1)
    seed: int = Field(default=0, ge=0)


class PosteriorPrior(RequestBody):
    """A distribution fitted to the vectors of tuned prompts, so that one task's posterior starts the next.

    components: of a mixture; None: one for each prompt, up to 16.
    """

    kind: Literal["posterior"] = "posterior"
    prompts: list[Reference] = Field(min_length=1, max_length=1024)
    fit: Literal["gaussian", "mixture"] = "gaussian"
    components: int | None = Field(default=None, ge=1, le=256)
    shrinkage: Shrinkage = "auto"


class PromptPrior(RequestBody):
    """A tuned prompt itself: tuning goes on from it."""

    kind: Literal["prompt"] = "prompt"
    ref: Reference


Prior = Annotated[
    IsotropicPrior
    | XavierPrior
    | VocabularyPrior
    | TextPrior
    | GaussianPrior
    | ExclusionPrior
    | InterpolationPrior
    | KnnPrior
    | VaePrior
    | PosteriorPrior
    | PromptPrior,
    Field(discriminator="kind"),
]
"""Any prior, told apart by ``kind``."""

InterpolationPrior.model_rebuild()


class SampleBody(RequestBody):
    """Body of ``POST /v1/priors/sample``: draw before tuning. n: vectors. layer: where they would go; None: embeddings."""

    model: str = Field(min_length=1, max_length=200)
    prior: Prior
    n: int = Field(default=20, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    layer: int | None = None
