"""Priors: distributions from which the vectors of a prompt are drawn before tuning (arXiv 2412.18582 and others).

Everything that differs between priors outside of sampling is on these types: what a prior may do (class variables), its
label, and the checks of its parameters. The samplers are in ``workers/priors/kinds``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import ConfigDict, Field, model_validator

from promptatlas.types.prior_sources import Source
from promptatlas.types.references import Reference
from promptatlas.types.wire import RequestBody

Shrinkage = Literal["auto", "none", "ledoit-wolf", "oas"]
"""Shrinkage of the sample covariance; ``auto``: Ledoit-Wolf if there are fewer than ten samples per dimension."""


class PriorFault(ValueError):
    """A parameter of a prior does not suit the points that it is fitted to. field: name of the parameter in JSON."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class BasePrior(RequestBody):
    """What all priors have.

    can_regularize: ``regularize.weight`` accepts it: its density over vectors has a gradient. draws_prefix_directly: a
    prefix's keys and values are drawn from it; otherwise soft vectors are drawn, and the prefix is compiled from them.
    """

    can_regularize: ClassVar[bool] = False
    draws_prefix_directly: ClassVar[bool] = False

    kind: str

    @property
    def label(self) -> str:
        """The prior in a few words, e.g. ``gaussian(squad activations)``, for tables and legends."""
        return self.kind

    def check_points(self, n_points: int | None) -> None:
        """Validate parameters that depend on the number of points the prior is fitted to; None: not known yet.

        Raises:
            PriorFault: with the field to blame.
        """


class SourceFittedPrior(BasePrior):
    """A prior that is fitted to a cloud of embeddings or activations."""

    kind: str
    fit: Source

    @property
    def label(self) -> str:
        return f"{self.kind}({self.fit.label})"


class PromptsFittedPrior(BasePrior):
    """A prior that is fitted to the vectors of tuned prompts."""

    kind: str
    prompts: list[Reference] = Field(min_length=1, max_length=1024)


class IsotropicPrior(BasePrior):
    """N(0, std² I)."""

    can_regularize = True
    draws_prefix_directly = True

    kind: Literal["isotropic"] = "isotropic"
    std: float = Field(default=0.02, gt=0)

    @property
    def label(self) -> str:
        return self.kind if self.std == type(self).model_fields["std"].default else f"{self.kind}({self.std:g})"


class XavierPrior(BasePrior):
    """Uniform within ±sqrt(6 / (n_virtual + d_model)): Glorot and Bengio (2010) over `[n_virtual, d_model]`."""

    draws_prefix_directly = True

    kind: Literal["xavier"] = "xavier"


class VocabularyPrior(BasePrior):
    """Embeddings of tokens that are drawn uniformly from the vocabulary."""

    kind: Literal["vocabulary"] = "vocabulary"


class TextPrior(BasePrior):
    """The states of a text's tokens, repeated or cut to the number of vectors."""

    kind: Literal["text"] = "text"
    text: str = Field(min_length=1, max_length=100_000)


class GaussianPrior(SourceFittedPrior):
    """N(mu, scale·Sigma) with the source's mean and covariance (1/N)."""

    can_regularize = True

    kind: Literal["gaussian"] = "gaussian"
    scale: float = Field(default=1.0, gt=0)
    shrinkage: Shrinkage = "auto"

    @property
    def label(self) -> str:
        return super().label + ("" if self.scale == 1.0 else f"×{self.scale:g}")


class ExclusionPrior(SourceFittedPrior):
    """Draws of N(mu, c^(2/d)·Sigma) that avoid the dense core of N(mu, Sigma)."""

    can_regularize = True

    kind: Literal["exclusion"] = "exclusion"
    c: float = Field(default=5.0, gt=1)
    shrinkage: Shrinkage = "auto"


class InterpolationPrior(BasePrior):
    """a·x + (1−a)·y with x from one prior, y from another, and a uniform in [0, 1]. In Python ``from`` is ``from_``."""

    model_config = ConfigDict(populate_by_name=True)
    kind: Literal["interpolation"] = "interpolation"
    from_: Prior = Field(alias="from")
    to: Prior

    @property
    def label(self) -> str:
        return f"{self.kind}({_short_label(self.from_)}, {_short_label(self.to)})"


class KnnPrior(SourceFittedPrior):
    """Regions of low density: of candidates around the source, those farthest from their k-th nearest neighbour.

    candidates: drawn per vector. spread: distance of the candidates, in standard deviations of the source.
    """

    kind: Literal["knn"] = "knn"
    k: int = Field(default=10, ge=1, le=10_000)
    candidates: int = Field(default=16, ge=2, le=1024)
    spread: float = Field(default=1.0, gt=0)

    def check_points(self, n_points: int | None) -> None:
        if n_points is not None and self.k >= n_points:
            raise PriorFault(
                f"Expected k of at most {n_points - 1}, the neighbours that each of {n_points} points has; got {self.k}.",
                field="k",
            )


class VaePrior(SourceFittedPrior):
    """Samples of a variational autoencoder that is trained on the source.

    free_bits: nats per latent dimension that the KL divergence does not count. warmup: share of the epochs before the
    divergence has its full weight. lr: of AdamW, with a cosine schedule. seed: of the training, not of the draws.
    """

    kind: Literal["vae"] = "vae"
    d_latent: int = Field(default=32, ge=1, le=4096)
    d_hidden: int = Field(default=256, ge=1, le=16_384)
    epochs: int = Field(default=60, ge=1, le=10_000)
    lr: float = Field(default=1e-3, gt=0)
    batch_size: int = Field(default=128, ge=2, le=65_536)
    free_bits: float = Field(default=0.1, ge=0)
    warmup: float = Field(default=0.5, ge=0, le=1)
    seed: int = Field(default=0, ge=0)


class PosteriorPrior(PromptsFittedPrior):
    """A distribution fitted to the vectors of tuned prompts, so that one task's posterior is the next task's prior.

    prompts: prompts, and stored posteriors, each of which contributes all its members; ``ref`` is short for a list of one.
    components: of a mixture; None: one per prompt, up to 16.
    """

    can_regularize = True

    kind: Literal["posterior"] = "posterior"
    fit: Literal["gaussian", "mixture"] = "gaussian"
    components: int | None = Field(default=None, ge=1, le=256)
    shrinkage: Shrinkage = "auto"

    @model_validator(mode="before")
    @classmethod
    def _one_ref(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "ref" not in value:
            return value
        if "prompts" in value:
            raise ValueError("expected ref or prompts, got both")
        return {**{name: given for name, given in value.items() if name != "ref"}, "prompts": [value["ref"]]}

    def check_points(self, n_points: int | None) -> None:
        if self.fit != "mixture":
            if self.components is not None:
                raise PriorFault(
                    f"Expected components only with fit 'mixture', got fit {self.fit!r}.", field="components"
                )
        elif n_points is not None and (self.components or 1) > n_points:
            raise PriorFault(
                f"Expected at most {n_points} components, the number of vectors of the prompts; got {self.components}.",
                field="components",
            )


class PromptPrior(BasePrior):
    """A tuned prompt itself: tuning continues from it."""

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
"""Any prior, discriminated by ``kind``."""

InterpolationPrior.model_rebuild()

PRIOR_TYPES: tuple[type[BasePrior], ...] = get_args(get_args(Prior)[0])
"""All members of ``Prior``."""


def _short_label(prior: BasePrior) -> str:
    """The dataset of a prior that is fitted to one, since ends usually differ in it; otherwise the label."""
    dataset = prior.fit.dataset if isinstance(prior, SourceFittedPrior) else None
    return prior.label if dataset is None else dataset


class SampleBody(RequestBody):
    """Body of ``POST /v1/priors/sample``. n: vectors. layer: the layer to draw for; None: the token embeddings."""

    model: str = Field(min_length=1, max_length=200)
    prior: Prior
    n: int = Field(default=20, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    layer: int | None = None
