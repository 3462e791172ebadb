"""Registry of priors: from a prior on the wire to the fitted one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import promptatlas.types.priors as wire

from workers.priors.kinds.exclusion import Exclusion
from workers.priors.kinds.gaussian import Gaussian
from workers.priors.kinds.interpolation import Interpolation
from workers.priors.kinds.isotropic import Isotropic
from workers.priors.kinds.knn import Knn
from workers.priors.kinds.posterior import Posterior
from workers.priors.kinds.prompt import Stored
from workers.priors.kinds.text import Text
from workers.priors.kinds.vae import Vae
from workers.priors.kinds.vocabulary import Vocabulary
from workers.priors.kinds.xavier import Xavier
from workers.priors.prior import Prior, Space
from workers.priors.sources.sources import Sources


def build_prior(spec: wire.Prior, *, space: Space, sources: Sources) -> Prior:
    """The prior of ``spec``, fitted for vectors of ``space``. A prior that these sources have fitted before is reused.

    Raises:
        InvalidRequest: it cannot be fitted.
        NotFound, DamagedArtifact: from the stores.
    """
    key = (spec.model_dump_json(by_alias=True), space)
    return sources.fitted(key, make=lambda: FITTERS[type(spec)](spec, space=space, sources=sources))


def _fit_interpolation(spec: wire.InterpolationPrior, *, space: Space, sources: Sources) -> Interpolation:
    from_, to = (build_prior(end, space=space, sources=sources) for end in (spec.from_, spec.to))
    return Interpolation(from_=from_, to=to)


FITTERS: Mapping[type[wire.BasePrior], Callable[..., Prior]] = MappingProxyType(
    {
        wire.IsotropicPrior: Isotropic.fit,
        wire.XavierPrior: Xavier.fit,
        wire.VocabularyPrior: Vocabulary.fit,
        wire.TextPrior: Text.fit,
        wire.GaussianPrior: Gaussian.fit,
        wire.ExclusionPrior: Exclusion.fit,
        wire.InterpolationPrior: _fit_interpolation,
        wire.KnnPrior: Knn.fit,
        wire.VaePrior: Vae.fit,
        wire.PosteriorPrior: Posterior.fit,
        wire.PromptPrior: Stored.fit,
    }
)
"""By type on the wire, the function ``(spec, space, sources) -> Prior``."""
