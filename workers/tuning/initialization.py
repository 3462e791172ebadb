"""Initialization of a tuning run: draws, facts of the priors, and fingerprints of dataset and model, kept in checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import safetensors.torch
from promptatlas.types.posteriors import EnsemblePosterior, SgldPosterior
from promptatlas.types.priors import PromptPrior
from promptatlas.types.tuning import TuneSpec

from service.engine.model.hosted_model import HostedModel
from service.engine.shapes import Tensor
from service.errors import Conflict
from service.planning.checks.members import PlannedMember, members_of, prompt_name
from workers.priors.sources.sources import Sources
from workers.tuning.draws import draw, log_prob_of, priors_of
from workers.tuning.samplers.langevin import Preconditioner
from workers.tuning.training.settings import LogProb, PosteriorSettings, TuneSettings

RECORD, DRAWS = "beginning.json", "draws.safetensors"
"""Files of a checkpoint."""

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class RunMember:
    """A combination of prior, seed and rate, with the name of its prompt."""

    name: str
    plan: PlannedMember

    @property
    def draw(self) -> str:
        """Key of the member's draw. Members that differ only in rate share a draw."""
        return f"{self.plan.prior_index}.{self.plan.seed}"


@dataclass(frozen=True, kw_only=True)
class Initialization:
    """Values that the first attempt fixes for all later ones.

    Attributes:
        draws: tensors in the native format, by ``RunMember.draw``.
        facts: facts of the fitted priors, by index of the prior in the spec, then by tensor.
        max_bytes: memory limit of one training forward. It decides how examples are split, and so the rounding of sums.
    """

    dataset_sha256: str
    base_revision: str
    max_bytes: int
    facts: Mapping[str, Mapping[str, Any]]
    draws: Mapping[str, Tensors]

    def files(self) -> dict[str, bytes]:
        """Files of a checkpoint."""
        record = {name: value for name, value in vars(self).items() if name != "draws"}
        tensors = {f"{key}/{name}": tensor for key, draw in self.draws.items() for name, tensor in draw.items()}
        return {RECORD: json.dumps(record, allow_nan=False).encode(), DRAWS: safetensors.torch.save(tensors)}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Initialization:
        """The inverse of ``files``."""
        draws: dict[str, dict[str, Tensor]] = {}
        # The rounding of a gradient norm depends on the order of the tensors, and a file does not preserve it: sort by name.
        for path, tensor in sorted(safetensors.torch.load(files[DRAWS]).items()):
            key, _, name = path.partition("/")
            draws.setdefault(key, {})[name] = tensor
        return cls(**json.loads(files[RECORD]), draws=draws)

    def require_same(self, *, dataset_sha256: str, base_revision: str) -> None:
        """Raise Conflict if the dataset or the model's weights have changed since the first attempt."""
        if dataset_sha256 != self.dataset_sha256:
            raise Conflict("The dataset has other content than at the start of this run; create a new run.")
        if base_revision != self.base_revision:
            raise Conflict("The base model has other weights than at the start of this run; create a new run.")


def initialize(
    spec: TuneSpec,
    *,
    members: Sequence[RunMember],
    model: HostedModel,
    sources: Sources,
    dataset_sha256: str,
    max_bytes: int,
) -> Initialization:
    """Fit the priors and draw the initial tensors, once for each pair of prior and seed.

    Args:
        max_bytes: from ``workers.tuning.training.memory.forward_bytes``.

    Raises:
        the errors of ``workers.tuning.draws.draw``.
    """
    plans = {member.draw: member.plan for member in members}
    draws = {key: _draw(spec, plan, model=model, sources=sources) for key, plan in plans.items()}
    return Initialization(
        dataset_sha256=dataset_sha256,
        base_revision=model.card.revision,
        max_bytes=max_bytes,
        facts=_facts(spec, model=model, sources=sources),
        draws=draws,
    )


def run_members(spec: TuneSpec, *, run_id: str) -> list[RunMember]:
    """All members of a run: for each prior, for each seed, for each rate."""
    return [RunMember(name=prompt_name(spec, plan, run_id=run_id), plan=plan) for plan in members_of(spec)]


def settings_of(spec: TuneSpec, *, can_validate: bool, n_observations: int = 1) -> TuneSettings:
    """The trainer's settings. Without validation examples, the last vectors are kept and no member stops early.

    Args:
        n_observations: answer tokens of the training examples.
    """
    method, optimizer, stopping = spec.method, spec.optimizer, spec.early_stopping
    return TuneSettings(
        kind=method.kind,
        where=method.chosen_where,
        d_reparametrised=getattr(method, "d_reparametrised", None),
        n_frozen=method.n_untrained,
        steps=optimizer.steps,
        batch_size=optimizer.batch_size,
        accumulate=optimizer.accumulate,
        schedule=optimizer.schedule,
        warmup=optimizer.warmup,
        weight_decay=optimizer.weight_decay,
        betas=optimizer.betas,
        eps=optimizer.eps,
        clip=optimizer.clip,
        regularize_weight=spec.regularize.weight,
        gradient_checkpointing=spec.gradient_checkpointing,
        eval_every=spec.eval.every,
        patience=stopping.patience if stopping is not None and can_validate else None,
        min_delta=stopping.min_delta if stopping is not None else 0.0,
        keep=spec.keep if can_validate else "last",
        data_seed=spec.data_seed,
        snapshots=spec.snapshots,
        posterior=_posterior_settings(spec, n_observations=n_observations),
    )


def log_prob_under(spec: TuneSpec, plan: PlannedMember, *, model: HostedModel, sources: Sources) -> LogProb | None:
    """The log density under the member's prior; None if neither a penalty nor a posterior needs it."""
    is_density = spec.posterior is not None and not isinstance(spec.posterior, EnsemblePosterior)
    if spec.regularize.weight == 0 and not is_density:
        return None
    return partial(log_prob_of, priors_of(spec.method, plan.prior, model=model, sources=sources))


def _posterior_settings(spec: TuneSpec, *, n_observations: int) -> PosteriorSettings | None:
    method = spec.posterior
    if method is None or isinstance(method, EnsemblePosterior):
        return None
    settings = PosteriorSettings(method=method.method, n_observations=n_observations, temperature=method.temperature)
    if not isinstance(method, SgldPosterior):
        return settings
    burn_in = spec.optimizer.steps // 2 if method.burn_in is None else method.burn_in
    preconditioner = Preconditioner(decay=method.decay, damping=method.damping, has_gamma=method.gamma)
    return replace(
        settings, burn_in=burn_in, thin=method.thin, preconditioner=preconditioner if method.preconditioned else None
    )


def _draw(spec: TuneSpec, plan: PlannedMember, *, model: HostedModel, sources: Sources) -> Tensors:
    drawn = draw(spec.method, plan.prior, seed=plan.seed, model=model, sources=sources)
    # Cloned because safetensors refuses tensors that share memory.
    return {name: tensor.detach().float().cpu().contiguous().clone() for name, tensor in sorted(drawn.items())}


def _facts(spec: TuneSpec, *, model: HostedModel, sources: Sources) -> dict[str, dict[str, Any]]:
    return {
        str(i): {
            name: dict(fitted.facts)
            for name, fitted in priors_of(spec.method, prior, model=model, sources=sources).items()
        }
        for i, prior in enumerate(spec.priors)
        if not isinstance(prior, PromptPrior)
    }
