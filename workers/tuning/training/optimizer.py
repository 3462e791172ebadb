"""AdamW of one member, with schedule and gradient clipping. It depends on no other member."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from service.engine.shapes import Tensor
from workers.tuning.training.settings import Schedule, TuneSettings

STATES = ("step", "exp_avg", "exp_avg_sq")


def rate_factor(step: int, *, total: int, n_warmup: int, schedule: Schedule) -> float:
    """Factor of the highest rate at update ``step`` (from 0), as in the schedules of transformers with the same names."""
    if step < n_warmup:
        return step / n_warmup
    share = (step - n_warmup) / max(1, total - n_warmup)
    if schedule == "linear":
        return max(0.0, 1.0 - share)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * share))) if schedule == "cosine" else 1.0


def schedule_of(step: int, *, settings: TuneSettings) -> float:
    """:func:`rate_factor` with the settings' schedule."""
    n_warmup = math.ceil(settings.warmup * settings.steps)
    return rate_factor(step, total=settings.steps, n_warmup=n_warmup, schedule=settings.schedule)


class MemberOptimizer:
    """torch's AdamW over a member's leaves."""

    def __init__(self, leaves: Mapping[str, Tensor], *, lr: float, settings: TuneSettings) -> None:
        self._leaves = leaves
        self._lr = lr
        self._settings = settings
        self._adam = torch.optim.AdamW(
            list(leaves.values()), lr=lr, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay
        )

    def rate(self, step: int, *, scale: float) -> float:
        """Learning rate of update ``step``: the rate of the schedule times ``scale``."""
        return self._lr * schedule_of(step, settings=self._settings) * scale

    def gradient_norm(self) -> Tensor:
        """Norm of the accumulated gradient, a scalar."""
        grads = [leaf.grad for leaf in self._leaves.values() if leaf.grad is not None]
        return torch.nn.utils.get_total_norm(grads)

    def update(self, *, rate: float, norm: Tensor) -> None:
        """Clip the gradient, whose norm is ``norm``, and apply an update."""
        if self._settings.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(list(self._leaves.values()), self._settings.clip, norm)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()

    def zero_grad(self) -> None:
        self._adam.zero_grad(set_to_none=True)

    def reset(self) -> None:
        """Forget the averages of gradients; the bias correction starts again."""
        self._adam.state.clear()

    def tensors(self) -> dict[str, Tensor]:
        """State apart from the gradient: ``leaf/…`` and, after the first update, ``{state}/…``. The tensors are not copied."""
        found = {f"leaf/{name}": leaf.detach() for name, leaf in self._leaves.items()}
        for name, leaf in self._leaves.items():
            found |= {f"{key}/{name}": self._adam.state[leaf][key] for key in STATES if leaf in self._adam.state}
        return found

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy the state that ``tensors()`` returned."""
        for name, leaf in self._leaves.items():
            leaf.copy_(tensors[f"leaf/{name}"])
            self._adam.state.pop(leaf, None)
            if f"step/{name}" in tensors:
                # torch keeps the step count on the CPU.
                self._adam.state[leaf] = {
                    key: tensors[f"{key}/{name}"].clone().to("cpu" if key == "step" else leaf.device) for key in STATES
                }
