"""The posterior of a finished tuning run: its members, diagnostics, and stored version."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from promptatlas.types.posteriors import LaplacePosterior, SgldPosterior
from promptatlas.types.prompts import NormalDraws

from service.engine.shapes import Float, Tensor
from service.errors import InvalidRequest
from service.store.prompts.checks import Floats
from service.store.prompts.manifests import Provenance
from service.store.prompts.native_format import MAX_STORED_MEMBERS, PromptFile, make_normal_posterior, make_posterior
from service.store.prompts.normal import drawn
from workers.evaluation.example_rows import write_lines
from workers.tuning.context import TuningContext
from workers.tuning.initialization import Initialization, log_prob_under
from workers.tuning.posterior.diagnostics import ChainDiagnostics, diagnose
from workers.tuning.posterior.laplace import fit_laplace
from workers.tuning.posterior.predictive import evaluate_predictive
from workers.tuning.results.evaluation import MemberResults
from workers.tuning.results.outcome_table import LESS_IS_BETTER
from workers.tuning.results.versions import base_shape
from workers.tuning.training_loop import Training

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Members:
    """Members of a posterior. origins: the member of the run that each comes from, with its step for a sample of a chain.

    normal: the distribution that they are the first draws from, in its stored form; None if they are stored themselves.
    """

    tensors: list[Tensors]
    origins: list[str]
    diagnostics: ChainDiagnostics | None = None
    normal: tuple[Mapping[str, Floats], NormalDraws] | None = None


def store_posterior(
    context: TuningContext, training: Training, *, initialization: Initialization, measured: MemberResults
) -> dict[str, float]:
    """Store the posterior as one version, ``members.json`` and ``evaluation.jsonl`` as for prompts, and ``calibration.json``.

    Returns:
        the metrics of the best member, ``{name}/{metric}`` of each, ``posterior/n_members``, and for chains
        ``posterior/rhat`` (largest) and ``posterior/ess`` (smallest over all values of the prompt). And the measures of
        :func:`evaluate_predictive`.

    Raises:
        InvalidRequest: all members diverged, or the approximation does not exist.
    """
    name = context.spec.name or f"tuned-{context.run.run_id}"
    best = best_member(context, training, measured)
    members = _members(context, training, best=best)
    _log(context, members)
    predictive, bins = evaluate_predictive(context, members.tensors, best=training.outcomes[best].tensors)
    context.run.save_output("calibration.json", bins)
    metrics = _metrics(context, training, measured, best=best, members=members) | predictive
    prompt = _file(context, members, best=best)
    spec = context.spec
    prior = spec.priors[0].model_dump(mode="json", by_alias=True) if len(spec.priors) == 1 else None
    provenance = Provenance(run_id=context.run.run_id, prior=prior, metrics=metrics)
    manifest, _ = context.run.prompts.create(name, prompt=prompt, provenance=provenance)
    context.run.made_prompt(manifest.ref)
    context.run.log(f"Stored {manifest.ref}, a posterior of {len(members.tensors)} prompts.")
    lines = measured.reference_lines()
    for member in context.members:
        lines += measured.lines(member, ref=manifest.ref)
    context.run.save_output("evaluation.jsonl", write_lines(lines))
    context.run.save_output("members.json", _table(context, training, ref=manifest.ref))
    return metrics


def _file(context: TuningContext, members: Members, *, best: int) -> PromptFile:
    """The native file of the posterior."""
    posterior = context.spec.posterior
    notes = {
        "run": context.run.run_id,
        "posterior": None if posterior is None else posterior.model_dump(mode="json"),
        "dataset": {"name": context.dataset.name, "sha256": context.dataset.sha256},
        "best": context.members[best].name,
        "members": members.origins,
    }
    base, where = base_shape(context.model.card), context.where
    if members.normal is not None:
        tensors, draws = members.normal
        return make_normal_posterior(context.kind, tensors=tensors, draws=draws, base=base, where=where, notes=notes)
    stacked = {key: torch.stack([m[key] for m in members.tensors]).numpy() for key in members.tensors[0]}
    return make_posterior(context.kind, tensors=stacked, base=base, where=where, notes=notes)


def best_member(context: TuningContext, training: Training, measured: MemberResults) -> int:
    """Index of the member with the lowest validation loss or, without one, the best value of the first metric.

    Raises:
        InvalidRequest: all members diverged.
    """
    kept = [i for i, outcome in enumerate(training.outcomes) if outcome.status != "diverged"]
    if not kept:
        raise InvalidRequest("All members of the run diverged, so there is no posterior. Choose a smaller lr.")

    def cost(i: int) -> float:
        loss = training.outcomes[i].validation_loss
        if loss is not None:
            return loss
        for name, value in measured.metrics(context.members[i]).items():
            if not name.startswith(("draw/", "bare/")):
                return value if name.rpartition("/")[2] in LESS_IS_BETTER else -value
        return math.inf

    return min(kept, key=cost)


def _members(context: TuningContext, training: Training, *, best: int) -> Members:
    method = context.spec.posterior
    if isinstance(method, LaplacePosterior):
        return _laplace(context, training, method, best=best)
    if isinstance(method, SgldPosterior):
        return _samples(context, training)
    kept = [
        (member.name, outcome.tensors)
        for member, outcome in zip(context.members, training.outcomes, strict=True)
        if outcome.status != "diverged"
    ]
    return Members(tensors=[tensors for _, tensors in kept], origins=[name for name, _ in kept])


def _samples(context: TuningContext, training: Training) -> Members:
    """Samples of the chains that did not diverge, thinned further if there are more than a posterior stores."""
    steps = training.settings.sample_steps
    chains = {
        member.name: training.snapshots(i)
        for i, (member, outcome) in enumerate(zip(context.members, training.outcomes, strict=True))
        if outcome.status != "diverged"
    }
    values = torch.stack([torch.stack([flat(samples[step]) for step in steps]) for samples in chains.values()])
    diagnostics = diagnose(values)
    if diagnostics is not None and diagnostics.outlier is not None:
        name = list(chains)[diagnostics.outlier]
        context.warn(
            f"The chains have not reached one distribution: R-hat is {diagnostics.rhat:.3g}, and {name} is farthest from the "
            "others. Run more steps, or choose another lr."
        )
    every = -(-len(steps) * len(chains) // MAX_STORED_MEMBERS)
    kept = [(name, step) for name in chains for step in steps[::-1][::every][::-1]]
    return Members(
        tensors=[chains[name][step] for name, step in kept],
        origins=[f"{name}@{step}" for name, step in kept],
        diagnostics=diagnostics,
    )


def _laplace(context: TuningContext, training: Training, method: LaplacePosterior, *, best: int) -> Members:
    member, mode = context.members[best], training.outcomes[best].tensors
    log_prob = log_prob_under(context.spec, member.plan, model=context.model, sources=context.sources)
    assert log_prob is not None, "planning refuses priors without a density"
    n_tokens = training.settings.posterior.n_observations if training.settings.posterior is not None else 1

    def loss(points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        context.run.check()
        prompts = [unflat(point, like=mode) for point in points]
        found = training.trainer.loss_gradients(prompts, n_examples=method.n_examples)
        return n_tokens * torch.stack([flat(gradient) for gradient in found])

    def log_prior(points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.stack([_prior_gradient(point, like=mode, log_prob=log_prob) for point in points])

    generator = torch.Generator().manual_seed(method.seed)
    sizes = {name: mode[name].numel() for name in sorted(mode)}
    fitted = fit_laplace(flat(mode), loss=loss, log_prior=log_prior, sizes=sizes, rank=method.rank, generator=generator)
    stored = fitted.stored(like=mode, temperature=method.temperature)
    draws = NormalDraws(n_draws=method.draws, seed=method.seed)
    members = [drawn(stored, seed=draws.seed, index=i) for i in range(draws.n_draws)]
    return Members(
        tensors=[{name: torch.from_numpy(values) for name, values in each.items()} for each in members],
        origins=[f"{member.name}#{i}" for i in range(draws.n_draws)],
        normal=(stored, draws),
    )


def _prior_gradient(point: Tensor, *, like: Tensors, log_prob: object) -> Tensor:
    leaf = point.clone().requires_grad_()
    assert callable(log_prob)
    (gradient,) = torch.autograd.grad(log_prob(unflat(leaf, like=like)), leaf)
    return torch.as_tensor(gradient)


def flat(tensors: Tensors) -> Float[Tensor, " d"]:
    """All values of a prompt, tensors in order of their names."""
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def unflat(values: Float[Tensor, " d"], *, like: Tensors) -> dict[str, Tensor]:
    """Inverse of :func:`flat`; shapes as in ``like``."""
    names = sorted(like)
    parts = torch.split(values, [like[name].numel() for name in names])
    return {name: part.view(like[name].shape) for name, part in zip(names, parts, strict=True)}


def _log(context: TuningContext, members: Members) -> None:
    if members.diagnostics is not None:
        context.run.log(
            f"R-hat is at most {members.diagnostics.rhat:.4g}; the effective sample size is at least "
            f"{members.diagnostics.ess:.4g}."
        )


def _metrics(
    context: TuningContext, training: Training, measured: MemberResults, *, best: int, members: Members
) -> dict[str, float]:
    found: dict[str, float] = {}
    for i, (member, outcome) in enumerate(zip(context.members, training.outcomes, strict=True)):
        own = measured.metrics(member)
        if outcome.validation_loss is not None:
            own.setdefault("validation/loss", outcome.validation_loss)
        found |= {
            f"{member.name}/{name}": value for name, value in own.items() if not name.startswith(("draw/", "bare/"))
        }
        if i == best:
            found |= own
    found["posterior/n_members"] = float(len(members.tensors))
    if members.diagnostics is not None:
        found |= {"posterior/rhat": members.diagnostics.rhat, "posterior/ess": members.diagnostics.ess}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _table(context: TuningContext, training: Training, *, ref: str) -> bytes:
    rows: Sequence[Mapping[str, object]] = [
        {
            "name": member.name,
            "prompt": ref,
            "prior": member.plan.prior.model_dump(mode="json", by_alias=True),
            "seed": member.plan.seed,
            "lr": member.plan.lr,
            "status": outcome.status,
            "step": outcome.step,
        }
        for member, outcome in zip(context.members, training.outcomes, strict=True)
    ]
    return json.dumps(rows, indent=2, allow_nan=False).encode()
