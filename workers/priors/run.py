"""Performs runs of kind ``sample``: draws from a prior before tuning."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from promptatlas.types.priors import SampleBody

from service.engine.shapes import Float, Tensor
from service.store.artifacts.tensor_codec import encode
from workers.priors.distributions.random_streams import generator_for
from workers.priors.distributions.spread import effective_rank
from workers.priors.kinds.registry import build_prior
from workers.priors.prior import Facts, Prior, Space
from workers.priors.sources.sources import Sources
from workers.running.interface import RunContext

OUTPUT = "draw.safetensors"

_MEASURED_ROWS = 2000


def sample(run: RunContext) -> Mapping[str, float]:
    """Draw ``n`` vectors and store them in ``draw.safetensors`` as tensor ``vectors`` `[n, d_model]`.

    Tuning with the same prior, seed and ``n`` virtual tokens starts from the same vectors. Metrics: the numeric facts of the
    fitted prior and of the draw.
    """
    spec = SampleBody.model_validate(dict(run.spec))
    run.progress(0, 2)
    model = run.load_model(spec.model)
    sources = Sources(model, datasets=run.datasets, prompts=run.prompts, check=run.check)
    layer = None if spec.layer is None else sources.layer(spec.layer)
    space = Space(d_model=model.d_model, n_virtual=spec.n, layer=layer)
    prior = build_prior(spec.prior, space=space, sources=sources)
    run.progress(1, 2)
    run.check()
    _log_remarks(run, prior)
    name = "soft" if layer is None else f"deep.{layer}"
    vectors = prior.sample(spec.n, generator=generator_for(spec.seed, name))
    facts: Facts = {**prior.facts, **_facts_of_draw(vectors)}
    metadata = {
        "model": model.card.name,
        "revision": model.card.revision,
        "layer": layer,
        "n": spec.n,
        "seed": spec.seed,
        "prior": spec.prior.model_dump(mode="json", by_alias=True),
        "facts": dict(facts),
    }
    run.save_output(OUTPUT, encode({"vectors": vectors.numpy()}, metadata=metadata))
    run.progress(2, 2)
    return {name: value for name, value in facts.items() if isinstance(value, float) and math.isfinite(value)}


def _log_remarks(run: RunContext, prior: Prior) -> None:
    """Log what limits the use of the draws."""
    facts = prior.facts
    if facts.get("shrinkage_method", "none") != "none":
        run.log(
            f"The covariance is shrunk by {float(facts['shrinkage']):.3f} ({facts['shrinkage_method']}): the source has "
            f"{float(facts['n_distinct']):.0f} different points."
        )
    if facts.get("active_latents") == 0:
        run.log(
            "No latent dimension is in use: the autoencoder equals a normal distribution. Train longer.",
            level="warning",
        )


def _facts_of_draw(vectors: Float[Tensor, "n d_model"]) -> dict[str, float]:
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    return {
        "draw_mean_norm": float(lengths.mean()),
        "draw_std": float(vectors.std(correction=0)),
        "draw_effective_rank": effective_rank(vectors[:_MEASURED_ROWS]),
    }
