"""One member while it trains: its parameters and optimiser, its good states to fall back on, its best ones."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from service.engine.shapes import Tensor
from workers.tuning.training.forms.registry import TRAINING_FORMS
from workers.tuning.training.optimizer import MemberOptimizer
from workers.tuning.training.parameters import Parameters
from workers.tuning.training.settings import Member, TuneSettings
from workers.tuning.training.step_report import Status

COPY_EVERY = 20
"""Steps between the states that are kept to fall back on."""
N_COPIES = 3
MAX_FAILURES = 5
"""In a row, without coming as far as the next copy: then the member is given up."""
SLOWDOWN = 0.5
"""What a failure multiplies the rate with."""


class MemberTraining:
    """Everything about one member that changes."""

    def __init__(self, member: Member, *, settings: TuneSettings, device: torch.device) -> None:
        self.member = member
        self.parameters: Parameters = TRAINING_FORMS[settings.kind].parameters(member, settings=settings, device=device)
        self.optimiser = MemberOptimizer(self.parameters.leaves, lr=member.lr, settings=settings)
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
        """The prompt as it is now, native format, float32 on the CPU, copied."""
        with torch.no_grad():
            return {name: t.detach().to("cpu", copy=True).contiguous() for name, t in self.parameters.tensors().items()}

    def advance(self, step: int, *, loss: float, norm: float, norm_tensor: Tensor) -> tuple[float, str | None]:
        """Take update ``step`` (from 0), or fall back if its numbers are not finite. Returns the rate, and what to say."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = "loss" if not math.isfinite(loss) else "gradient"
            return 0.0, self._fall_back(step, what=what)
        if step % COPY_EVERY == 0 and step > 0:
            self.good = [*self.good[1 - N_COPIES :], _copies(self.optimiser.tensors())]
            self.n_failures = 0
        rate = self.optimiser.rate(step, scale=self.scale)
        self.optimiser.update(rate=rate, norm=norm_tensor)
        self.step = step + 1
        return rate, None

    def _fall_back(self, step: int, *, what: str) -> str:
        if self.n_failures and len(self.good) > 1:
            self.good.pop()  # from there it has failed already
        self.optimiser.load(self.good[-1])
        self.n_failures += 1
        if self.n_failures >= MAX_FAILURES:
            self.status = "diverged"
            return f"the {what} of step {step + 1} is not finite, the {self.n_failures}th time in a row: given up."
        self.scale *= SLOWDOWN
        return f"the {what} of step {step + 1} is not finite: back to the last good state, with {self.scale:g} of the rate."

    def finish(self) -> str | None:
        """All steps are taken. Vectors that the last update broke are put back."""
        self.status = "finished"
        if all(bool(leaf.isfinite().all()) for leaf in self.parameters.leaves.values()):
            return None
        self.optimiser.load(self.good[-1])
        return "the last update gave numbers that are not finite: back to the last good state."

    def judge(self, loss: float) -> None:
        """Take notice of a validation loss: keep the best vectors, stop if they are long past."""
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


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
