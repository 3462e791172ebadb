"""From a prior as the wire has it to the fitted one. A new prior is a class with ``fit``, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def _interpolation(spec: wire.InterpolationPrior, *, space: Space, sources: Sources) -> Interpolation:
    from_, to = (build_prior(end, space=space, sources=sources) for end in (spec.from_, spec.to))
    return Interpolation(from_=from_, to=to)


KINDS: Mapping[str, Callable[..., Prior]] = {
    "isotropic": Isotropic.fit,
    "xavier": Xavier.fit,
    "vocabulary": Vocabulary.fit,
    "text": Text.fit,
    "gaussian": Gaussian.fit,
    "exclusion": Exclusion.fit,
    "interpolation": _interpolation,
    "knn": Knn.fit,
    "vae": Vae.fit,
    "posterior": Posterior.fit,
    "prompt": Stored.fit,
}


def build_prior(spec: wire.Prior, *, space: Space, sources: Sources) -> Prior:
    """The prior of ``spec``, fitted for vectors of ``space``; what was fitted before with these sources is not fitted again.

    Raises:
        InvalidRequest: it cannot be fitted, with what was expected and what came.
        NotFound, DamagedArtifact: from the stores.
    """
    key = (spec.model_dump_json(by_alias=True), space)
    return sources.fitted(key, make=lambda: KINDS[spec.kind](spec, space=space, sources=sources))
