"""SVGD on soft prompts: by the trainer, and by plain transformers with the formula of the paper in NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.sides.tuning import IGNORED, Tuned, TuningTask, new_trainer, padded, trained
from service.engine.model.hosted_model import HostedModel
from workers.inputs.examples import EncodedExample
from workers.priors.kinds.isotropic import Isotropic
from workers.tuning.draws import log_prob_of
from workers.tuning.training.settings import PosteriorSettings

Points = NDArray[np.float64]
"""`[n_particles, n_values]`."""


def tune_particles(hosted: HostedModel, task: TuningTask, *, std: float) -> Tuned:
    """All prompts as particles of one trainer, under the prior N(0, std² I)."""
    prior = partial(log_prob_of, {"soft": Isotropic(std=std, d=hosted.d_model)})
    posterior = PosteriorSettings(method="svgd", n_observations=n_observations(task))
    return trained(new_trainer(hosted, task, posterior=posterior, prior=prior))


def n_observations(task: TuningTask) -> int:
    """The answer tokens of all examples."""
    return sum(len(example.target_ids) for example in task.examples)


def tune_particles_plainly(module: Any, task: TuningTask, *, std: float) -> Tuned:
    """Plain transformers: the gradient of one particle after the other, and torch's AdamW on the directions of the paper."""
    particles = [start["soft"].clone().requires_grad_() for start in task.starts]
    optimizers = [torch.optim.AdamW([particle], lr=task.lr, weight_decay=0.0) for particle in particles]
    losses, n = [], n_observations(task)
    for batch in task.batches():
        found = [_loss_and_gradient(module, particle, batch) for particle in particles]
        losses.append([loss for loss, _ in found])
        points = np.stack([particle.detach().double().numpy().ravel() for particle in particles])
        # The score of the posterior, divided by the number of observations.
        scores = np.stack([-gradient.double().numpy().ravel() for _, gradient in found]) - points / (n * std**2)
        for particle, adam, row in zip(particles, optimizers, stein_directions(points, scores, n=n), strict=True):
            particle.grad = -torch.from_numpy(row).view(particle.shape).to(particle.dtype)
            torch.nn.utils.clip_grad_norm_([particle], 1.0)
            adam.step()
    return Tuned(losses=torch.tensor(losses), tensors=[{"soft": particle.detach().clone()} for particle in particles])


def stein_directions(points: Points, scores: Points, *, n: int) -> Points:
    """φ(x_i) of Liu and Wang (2016, algorithm 1), divided by ``n``, for scores that are divided by ``n``."""
    differences = points[:, None] - points[None]
    squared = (differences**2).sum(-1)
    between = squared[np.triu_indices(len(points), 1)]
    bandwidth = np.median(np.sqrt(between)) ** 2 / math.log(len(points))
    kernel = np.exp(-squared / bandwidth)
    # differences[i, j] is x_i − x_j; the gradient of k(x_j, x_i) in x_j is 2/h · k · (x_i − x_j).
    repelled = (2 / bandwidth) * (kernel[..., None] * differences).sum(1) / n
    directions: Points = (kernel @ scores + repelled) / len(points)
    return directions


def _loss_and_gradient(module: Any, vectors: Tensor, batch: Sequence[EncodedExample]) -> tuple[float, Tensor]:
    """The mean over the answer tokens of a padded batch with the vectors in front."""
    given = padded(batch)
    text: Tensor = module.get_input_embeddings()(given["input_ids"])
    shape = (len(batch), len(vectors))
    loss = module(
        inputs_embeds=torch.cat([vectors.expand(len(batch), -1, -1), text], 1),
        attention_mask=torch.cat([torch.ones(shape, dtype=torch.long), given["attention_mask"]], 1),
        labels=torch.cat([torch.full(shape, IGNORED), given["labels"]], 1),
    ).loss
    (gradient,) = torch.autograd.grad(loss, vectors)
    return float(loss.detach()), gradient
