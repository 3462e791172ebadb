from __future__ import annotations

import pytest
import torch
from transformers import get_scheduler

from workers.tuning.training.optimizer import rate_factor
from workers.tuning.training.settings import Schedule


@pytest.mark.parametrize(
    ("schedule", "name"), [("linear", "linear"), ("cosine", "cosine"), ("constant", "constant_with_warmup")]
)
@pytest.mark.parametrize("n_warmup", [0, 5, 23])
def test_schedules_equal_those_of_transformers(schedule: Schedule, name: str, n_warmup: int) -> None:
    total = 23
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_scheduler(name, optimiser, num_warmup_steps=n_warmup, num_training_steps=total)
    for step in range(total):
        got = rate_factor(step, total=total, n_warmup=n_warmup, schedule=schedule)
        assert got == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimiser.step()
        theirs.step()
