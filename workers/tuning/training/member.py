"""Training state of one member: parameters, optimizer, states to roll back to, and the best vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch

from service.engine.shapes import Tensor
from workers.tuning.samplers.langevin import LangevinOptimizer
from workers.tuning.training.forms.registry import TRAINING_FORMS
from workers.tuning.training.optimizer import MemberOptimizer, schedule_of
from workers.tuning.training.parameters import Parameters
from workers.tuning.training.settings import Member, TuneSettings
from workers.tuning.training.step_report import Status

COPY_EVERY = 20
"""Steps between the states that are kept for rolling back."""
N_COPIES = 3
MAX_FAILURES = 5
"""A member diverges after this many failures without a new copy between them."""
SLOWDOWN = 0.5
"""Factor of the rate after a failure."""


class MemberTraining:
    """The mutable state of one member."""

    def __init__(self, member: Member, *, settings: TuneSettings, device: torch.device) -> None:
        self.member = member
        self.parameters: Parameters = TRAINING_FORMS[settings.kind].parameters(member, settings=settings, device=device)
        self.optimiser = _optimizer(member, self.parameters, settings=settings)
        self.status: Status = "running"
        self.step = 0
        self.scale = 1.0
        self.n_failures = 0
        self.good: list[dict[str, Tensor]] = [_copies(self.optimiser.tensors())]
        self.best: dict[str, Tensor] | None = None
        self.best_step = 0
        self.best_loss = math.inf
        self.n_without_progress = 0
        self.snapshots: dict[int, dict[str, Tensor]] = {}
        self._settings = settings

    @property
    def is_running(self) -> bool:
        return self.status == "running"

    def tensors(self) -> dict[str, Tensor]:
        """A copy of the current prompt in the native format, float32 on the CPU."""
        with torch.no_grad():
            return {name: t.detach().to("cpu", copy=True).contiguous() for name, t in self.parameters.tensors().items()}

    def advance(self, step: int, *, loss: float, norm: float, norm_tensor: Tensor) -> tuple[float, str | None]:
        """Apply update ``step`` (from 0), or roll back if its loss or gradient is not finite.

        Returns:
            the rate of the update, and a note if the member was rolled back.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = "loss" if not math.isfinite(loss) else "gradient"
            return 0.0, self._roll_back(step, what=what)
        if step % COPY_EVERY == 0 and step > 0:
            self.good = [*self.good[1 - N_COPIES :], _copies(self.optimiser.tensors())]
            self.n_failures = 0
        rate = self.optimiser.rate(step, scale=self.scale)
        self.optimiser.update(rate=rate, norm=norm_tensor)
        self.step = step + 1
        return rate, None

    def _roll_back(self, step: int, *, what: str) -> str:
        if self.n_failures and len(self.good) > 1:
            self.good.pop()  # training from this state has failed already
        self.optimiser.load(self.good[-1])
        self.n_failures += 1
        if self.n_failures >= MAX_FAILURES:
            self.status = "diverged"
            return f"the {what} of step {step + 1} is not finite, the {self.n_failures}th time in a row: the member is abandoned."
        self.scale *= SLOWDOWN
        return f"the {what} of step {step + 1} is not finite: rolled back to the last good state, rate times {self.scale:g}."

    def finish(self) -> str | None:
        """Mark the member as finished. Roll back if the last update gave values that are not finite."""
        self.status = "finished"
        if all(bool(leaf.isfinite().all()) for leaf in self.parameters.leaves.values()):
            return None
        self.optimiser.load(self.good[-1])
        return "the last update gave values that are not finite: rolled back to the last good state."

    def record_validation_loss(self, loss: float) -> None:
        """Record a validation loss: keep the vectors if they are the best, and stop the member if its patience is exhausted."""
        if loss < self.best_loss - self._settings.min_delta:
            self.n_without_progress = 0
        else:
            self.n_without_progress += 1
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, self.step
            if self._settings.keep == "best":
                self.best = self.tensors()
        patience = self._settings.patience
        if self.is_running and patience is not None and self.n_without_progress >= patience:
            self.status = "stopped"


def _optimizer(
    member: Member, parameters: Parameters, *, settings: TuneSettings
) -> MemberOptimizer | LangevinOptimizer:
    posterior = settings.posterior
    if posterior is None or posterior.method != "sgld":
        return MemberOptimizer(parameters.leaves, lr=member.lr, settings=settings)
    return LangevinOptimizer(
        parameters.leaves,
        lr=member.lr,
        schedule=partial(schedule_of, settings=settings),
        seed=member.seed,
        noise=posterior.noise,
        preconditioner=posterior.preconditioner,
    )


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
