"""Specs of the priors that studies compare."""

from typing import Any, Final

Spec = dict[str, Any]

VOCABULARY: Final[Spec] = {"embeddings": "vocabulary"}
ISOTROPIC: Final[Spec] = {"kind": "isotropic", "std": 0.02}
XAVIER: Final[Spec] = {"kind": "xavier"}
TOKENS: Final[Spec] = {"kind": "vocabulary"}


def embeddings_of(dataset: str, *, n: int = 256) -> Spec:
    """Token embeddings with their frequencies in ``n`` texts of a dataset."""
    return {"embeddings": {"dataset": dataset, "n": n}}


def activations_of(dataset: str, *, n: int = 256) -> Spec:
    """States of the tokens of ``n`` texts at the layer of the vectors."""
    return {"activations": {"dataset": dataset, "n": n}}


def gaussian(fit: Spec, *, scale: float = 1.0) -> Spec:
    """N(mu, scale·Sigma) of a cloud."""
    return {"kind": "gaussian", "fit": fit, "scale": scale}


def exclusion(fit: Spec) -> Spec:
    """Around a cloud, outside its dense core."""
    return {"kind": "exclusion", "fit": fit}


def interpolation(first: Spec, second: Spec) -> Spec:
    """Between the Gaussians of two clouds."""
    return {"kind": "interpolation", "from": gaussian(first), "to": gaussian(second)}


def vae(fit: Spec, *, epochs: int) -> Spec:
    """Samples of an autoencoder that is trained on a cloud."""
    return {"kind": "vae", "fit": fit, "epochs": epochs}
