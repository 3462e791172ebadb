"""Training steps over packed batches, with checkpoints from which training continues bit for bit."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaForCausalLM

from demo.batches import Batch

DrawBatch = Callable[[int], Batch]


@dataclass(frozen=True)
class TrainSettings:
    """Options that determine the trained weights, together with the data and the initial model.

    The rates rise over `n_warmup` steps, are then constant, and decay linearly to zero over the last `decay_share` of the
    steps. Before the decay, a checkpoint does not depend on `n_steps`, so the length of a run can still be changed.
    """

    n_steps: int
    matrix_rate: float = 0.006
    other_rate: float = 2e-3
    n_warmup: int = 30
    decay_share: float = 0.4
    bfloat16: bool = True

    def rate_factor(self, step: int) -> float:
        """Share of the full learning rates that step number `step` (from 0) uses."""
        n_decay = max(1, round(self.n_steps * self.decay_share))
        return min(1.0, (step + 1) / self.n_warmup, (self.n_steps - step) / n_decay)


class Trainer:
    """A model, its two optimisers (Muon for the matrices, AdamW for embeddings and norms) and a step number."""

    def __init__(self, model: LlamaForCausalLM, *, settings: TrainSettings, draw_batch: DrawBatch) -> None:
        self.model = model
        self.settings = settings
        self.step = 0
        self.draw_batch = draw_batch
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
        self._optimisers: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices, lr=settings.matrix_rate, weight_decay=0.01),
            torch.optim.AdamW(others, lr=settings.other_rate, betas=(0.9, 0.95), weight_decay=0.0),
        )

    def advance(self) -> float:
        """One step; returns the weighted loss of its batch in nats per token."""
        factor = self.settings.rate_factor(self.step)
        for optimiser, rate in zip(
            self._optimisers, (self.settings.matrix_rate, self.settings.other_rate), strict=True
        ):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.bfloat16):
            loss = batch_loss(self.model, batch=self.draw_batch(self.step))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self._optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self.step += 1
        return loss.item()

    def save(self, path: Path) -> None:
        """Write a checkpoint. A crash keeps the previous one intact."""
        state: dict[str, Any] = {
            "step": self.step,
            "settings": asdict(self.settings),
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
        }
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def load(self, path: Path) -> None:
        """Load a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)


def batch_loss(model: LlamaForCausalLM, *, batch: Batch) -> Tensor:
    """Weighted mean of the next-token losses, a float32 scalar in nats."""
    hidden = model.model(
        input_ids=batch.token_ids, attention_mask=batch.mask(), position_ids=batch.positions, use_cache=False
    ).last_hidden_state
    logits = model.lm_head(hidden[:, :-1]).flatten(0, 1).float()
    losses = functional.cross_entropy(logits, batch.token_ids[:, 1:].flatten(), reduction="none")
    weights = batch.weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()
