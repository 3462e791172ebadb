"""Labels of measures and rule parts, as figures and the HTML page show them in place of JSON keys."""

from __future__ import annotations

from collections.abc import Mapping

LABELS: Mapping[str, str] = {
    "anisotropy": "anisotropy (mean cosine)",
    "apart_at": "separated at layers",
    "best_validation_loss": "best validation loss (nats)",
    "by_dataset": "by dataset",
    "by_method_and_rate": "by method and learning rate",
    "by_prior": "by prior",
    "by_rate": "by learning rate",
    "common_loss": "common loss (nats)",
    "differs": "differs between priors",
    "differs_by_prior": "differs between priors",
    "dip": "dip along first principal axis",
    "dip_p_value": "dip p-value",
    "displacement": "distance to draw",
    "displacement_cosine": "cosine to draw",
    "draw_and_posterior_mahalanobis": "Mahalanobis distance of draw and tuned vectors",
    "draw_log_density": "log density of draw (nats)",
    "draw_mahalanobis": "Mahalanobis distance of draw",
    "draw_nearest_distance": "distance of draw to nearest token",
    "draws": "draws",
    "effective_rank": "effective rank",
    "gaussian": "log-likelihood, one Gaussian",
    "h": "Kruskal-Wallis H",
    "hdbscan_ari": "adjusted Rand index (HDBSCAN)",
    "interpolation": "interpolated priors",
    "intrinsic_dimension": "intrinsic dimension (TwoNN)",
    "kurtosis": "excess kurtosis",
    "log_density": "log density under prior (nats)",
    "lr": "learning rate",
    "mahalanobis": "Mahalanobis distance",
    "mahalanobis_differs_by_prior": "Mahalanobis distance differs between priors",
    "mean_pairwise_distance": "mean pairwise distance",
    "median_of_other_priors": "median of the other priors",
    "mixture": "log-likelihood, mixture",
    "mixture_components": "components of the mixture",
    "mixture_gain": "log-likelihood gain of mixture",
    "n": "values",
    "n_clouds": "clouds",
    "n_collapsed": "collapsed prompts",
    "n_layers": "layers",
    "n_never": "prompts that never reach it",
    "n_prompts": "prompts",
    "nearer_to_draw_than_to_cloud": "share nearer to draw than to cloud",
    "nearest_cosine": "cosine to nearest token",
    "nearest_cosine_differs_by_prior": "cosine to nearest token differs between priors",
    "nearest_cosine_differs_by_rate": "cosine to nearest token differs between learning rates",
    "nearest_distance": "distance to nearest token",
    "norm_ratio": "norm relative to tokens",
    "others": "other priors",
    "own_draw_is_nearest": "share with own draw nearest",
    "p_value": "p-value",
    "participation_ratio": "participation ratio",
    "priors_without_collapse": "priors without a collapsed prompt",
    "probe_accuracy_tokens": "probe accuracy on tokens",
    "radius_of_gyration": "radius of gyration",
    "rho": "Spearman correlation",
    "share_letters": "share of letters",
    "share_multimodal": "share of multimodal directions",
    "share_within_radius": "share within neighbour radius",
    "shares": "shares",
    "silhouette": "silhouette",
    "silhouette_texts": "silhouette of texts",
    "silhouette_tokens": "silhouette of tokens",
    "spread_of_means": "spread of the priors' means",
    "step_length": "step length",
    "steps_to_common_loss": "steps to common loss",
    "total_variation": "total variation of token frequencies",
    "way_length": "path length",
}
"""JSON key of a measure → its label."""

PART_LABELS: Mapping[str, str] = {
    "alike": "mean scores differ by at most the tolerance",
    "as good": "interpolation tunes as well as other priors",
    "depends on the prior": "collapse depends on the prior",
    "depends on the rate": "collapse depends on the learning rate",
    "distant, apart everywhere": "distant pair, separated at every layer",
    "far draws end far": "prompts drawn far from the cloud remain far from it",
    "far starts take longer": "distant initializations need more steps",
    "near, together": "near pair, separated at no more than half of the layers",
    "no Gaussian": "not Gaussian",
    "nearer to draw than to cloud": "most vectors are nearer to their draw than to the cloud",
    "own draw is nearest": "most vectors are nearest to their own draw",
    "some prior does not collapse": "some prior has no collapsed prompt",
    "unimodal along the first axis": "unimodal along the first principal axis",
}
"""Key of a rule part, up to its colon → its label."""


def labels() -> dict[str, str]:
    """Labels of keys and of rule parts, for readers of ``report.json``."""
    return {**LABELS, **PART_LABELS}


def label(name: str) -> str:
    """Label of a measure; names without one have spaces for underscores."""
    return LABELS.get(name, name.replace("_", " "))


def part_label(part: str) -> str:
    """Label of a rule part, e.g. ``alike: soft for squad at 0.1``."""
    name, colon, subject = part.partition(":")
    return PART_LABELS.get(name, name) + colon + subject
