"""Train a sparse autoencoder with SAELens on a harvest: ``python sae_lens_training.py FOLDER TENSOR RESULTS``.

RESULTS gets the mean squared error of all rows before and after 100 steps.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from promptatlas import Harvest
from sae_lens import StandardTrainingSAE, StandardTrainingSAEConfig
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer

STEPS, BATCH_SIZE, RATE = 100, 64, 3e-3


def main(folder: str, tensor: str, results: str) -> None:
    torch.manual_seed(0)
    harvest = Harvest.load(folder)
    store = harvest.activations_store(tensor, batch_size=BATCH_SIZE, shuffle="global", seed=1, skip_added=True)
    sae = StandardTrainingSAE(StandardTrainingSAEConfig(d_in=store.d_in, d_sae=2 * store.d_in, l1_coefficient=0.0))
    rows = torch.from_numpy(harvest.tensor(tensor).copy())

    @torch.no_grad()
    def error() -> float:
        return float((sae.decode(sae.encode(rows)) - rows).square().mean())

    before = error()
    config = SAETrainerConfig(
        total_training_samples=STEPS * BATCH_SIZE,
        train_batch_size_samples=BATCH_SIZE,
        lr=RATE,
        lr_end=RATE,
        logger=LoggingConfig(log_to_wandb=False),
    )
    SAETrainer(config, sae, data_provider=store.endless()).fit()
    Path(results).write_text(json.dumps({"before": before, "after": error(), "d_in": store.d_in}))


if __name__ == "__main__":
    main(*sys.argv[1:])
