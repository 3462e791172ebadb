"""Estimates of the Hessian's diagonal, and a step of pSGLD with Γ, against double backward passes of plain torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.oracle.models import build_model
from tests.workers.tuning.small_run import make_run, training_of
from workers.inputs.examples import EncodedExample
from workers.tuning.samplers.curvature import _signs, estimate_curvatures
from workers.tuning.samplers.langevin import LangevinOptimizer
from workers.tuning.training.trainer import Trainer

STD, LR, DECAY, DAMPING = 0.5, 0.01, 0.5, 0.01


def test_the_mean_over_signs_is_the_diagonal() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(13, 13, generator=generator)
    hessian = root @ root.T + torch.diag(torch.arange(13.0))
    leaf = torch.randn(13, generator=generator).requires_grad_()
    chain = LangevinOptimizer({"soft": leaf}, lr=0.1, schedule=lambda step: 1.0, seed=0, noise=1.0)

    def gather() -> None:
        leaf.grad = hessian @ leaf.detach()

    gather()
    start, gradient = leaf.detach().clone(), hessian @ leaf.detach()
    estimates = []
    for step in range(4000):
        estimate_curvatures([chain], gather=gather, step=step)
        estimates.append(chain.curvature["soft"])
    assert leaf.grad is not None
    assert torch.equal(leaf.detach(), start)
    assert torch.equal(leaf.grad, gradient)
    found = torch.stack(estimates)
    # The standard error of the mean of each value.
    error = found.std(0) / len(found) ** 0.5
    assert bool((error > 0).all())
    assert bool(((found.mean(0) - hessian.diagonal()).abs() < 4.5 * error).all())


def trainer_of(home: Path, **posterior: Any) -> tuple[Trainer, int]:
    """A trainer of one chain, and the number of answer tokens of its examples."""
    fixed = {"method": "sgld", "burn_in": 0, "thin": 1, "preconditioned": True}
    run = make_run(
        home,
        priors=[{"kind": "isotropic", "std": STD}],
        seeds=[0],
        keep="last",
        optimizer={"lr": LR, "steps": 1, "batch_size": 5, "schedule": "constant"},
        posterior={**fixed, **posterior},
    )
    context, _, training = training_of(run)
    n_tokens = sum(len(example.target_ids) for example in context.training_examples())
    return training.trainer, n_tokens


def test_a_step_with_gamma_is_that_of_plain_torch(tmp_path: Path) -> None:
    """One step from the draw, with the gradient and the Hessian product by double backward passes of plain transformers."""
    moved = {}
    for has_gamma in (False, True):
        trainer, n_tokens = trainer_of(tmp_path / str(has_gamma), decay=DECAY, damping=DAMPING, gamma=has_gamma)
        start = trainer.tensors(0)["soft"]
        batch = [trainer._train[i] for i in trainer._order.batch(0)]
        trainer.step()
        moved[has_gamma] = trainer.tensors(0)["soft"] - start

    def energy(soft: Tensor) -> Tensor:
        """−log p(soft | data) / N on the batch, up to a constant."""
        return batch_loss(soft, batch) + soft.square().sum() / (2 * STD**2) / n_tokens

    z = _signs(start, key="curvature/0/0/soft")
    soft = start.clone().requires_grad_()
    [slope] = torch.autograd.grad(energy(soft), soft, create_graph=True)
    [product] = torch.autograd.grad(slope, soft, grad_outputs=z)
    gradient = slope.detach()
    root = (1 - DECAY) ** 0.5 * gradient.abs()
    gamma = -(1 - DECAY) / (DAMPING + root).square() * gradient / root * (z * product)
    expected = LR / n_tokens * gamma
    largest = float(expected.abs().max())
    assert largest > 1e-5
    torch.testing.assert_close(moved[True] - moved[False], expected, rtol=0.05, atol=0.02 * largest)


def batch_loss(soft: Tensor, batch: Sequence[EncodedExample]) -> Tensor:
    """Mean cross-entropy per target token by plain transformers."""
    model = build_model("llama")
    losses = []
    for example in batch:
        embeds = model.get_input_embeddings()(torch.tensor([*example.input_ids, *example.target_ids[:-1]]))
        logits = model(inputs_embeds=torch.cat([soft, embeds])[None]).logits[0]
        logits = logits[len(soft) + len(example.input_ids) - 1 :]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(example.target_ids), reduction="none"))
    return torch.cat(losses).mean()


def test_the_spec_reaches_the_sampler(tmp_path: Path) -> None:
    trainer, _ = trainer_of(tmp_path, decay=0.25, damping=3.0)
    posterior = trainer.settings.posterior
    assert posterior is not None
    assert posterior.preconditioner is not None
    assert (posterior.preconditioner.decay, posterior.preconditioner.damping) == (0.25, 3.0)
    assert not posterior.preconditioner.has_gamma
