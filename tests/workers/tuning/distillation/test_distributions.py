"""Divergences equal those of torch and SciPy over the outcomes that they distinguish."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (the conventional name)

from workers.tuning.distillation.distributions import (
    Distributions,
    Divergence,
    View,
    distributions_of,
    divergence,
    joined,
)

N, VOCAB = 7, 23
KINDS: tuple[Divergence, ...] = ("kl", "reverse_kl", "jsd")


def logits(seed: int, *, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(N, VOCAB, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_scipy(kind: Divergence, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    middle = (p + q) / 2
    values = {
        "kl": rel_entr(p, q),
        "reverse_kl": rel_entr(q, p),
        "jsd": (rel_entr(p, middle) + rel_entr(q, middle)) / 2,
    }
    return np.asarray(values[kind].sum(-1))


def outcomes(log_probs: Tensor, ids: Tensor) -> np.ndarray:
    """Probabilities of the tokens in ``ids`` and of all others together."""
    top = log_probs.exp().gather(1, ids)
    return torch.cat([top, 1 - top.sum(1, keepdim=True)], 1).numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("top_k", [None, 1, 5, 22])
def test_divergences_are_those_of_scipy(kind: Divergence, temperature: float, top_k: int | None) -> None:
    teacher, student = logits(1), logits(2)
    p, q = ((each / temperature).log_softmax(-1) for each in (teacher, student))
    found = distributions_of(teacher, view=View(temperature, top_k))
    got = divergence(kind, q.float(), found)
    if top_k is None:
        expected = by_scipy(kind, p.exp().numpy(), q.exp().numpy())
    else:
        ids = p.topk(top_k, -1).indices
        expected = by_scipy(kind, outcomes(p, ids), outcomes(q, ids))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_forward_divergence_is_that_of_torch() -> None:
    p, q = logits(3).float().log_softmax(-1), logits(4).float().log_softmax(-1)
    got = divergence("kl", q, Distributions(log_probs=p))
    torch.testing.assert_close(got, F.kl_div(q, p, log_target=True, reduction="none").sum(-1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [None, 4])
def test_a_student_equal_to_its_teacher_has_no_divergence_and_no_gradient(kind: Divergence, top_k: int | None) -> None:
    own = logits(5).float().requires_grad_()
    found = divergence(kind, own.log_softmax(-1), distributions_of(own.detach(), view=View(1.0, top_k)))
    assert float(found.detach().abs().max()) < 1e-6
    (gradient,) = torch.autograd.grad(found.sum(), own)
    assert float(gradient.abs().max()) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_outcomes_give_a_lower_bound(kind: Divergence) -> None:
    teacher, q = logits(6).float(), logits(7).float().log_softmax(-1)
    values = [divergence(kind, q, distributions_of(teacher, view=View(1.0, k))) for k in (1, 3, 9, None)]
    for fewer, more in pairwise(values):
        assert bool((fewer <= more + 1e-6).all())
        assert bool((fewer >= -1e-6).all())


def test_the_published_form_is_the_cross_entropy_of_the_top_tokens() -> None:
    teacher, student = logits(8).float(), logits(9).float()
    top = teacher.log_softmax(-1).topk(4, -1)
    expected = -(top.values.exp() * student.log_softmax(-1).gather(1, top.indices)).sum(-1)
    found = distributions_of(teacher, view=View(1.0, 4))
    torch.testing.assert_close(divergence("kl", student.log_softmax(-1), found, rest=False), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_places_without_a_token_change_nothing(kind: Divergence) -> None:
    """Rows of a file may have fewer tokens than others."""
    q = logits(10).float().requires_grad_()
    narrow = distributions_of(logits(11), view=View(1.0, 3))
    wide = joined([narrow, distributions_of(logits(11), view=View(1.0, 6))]).at(torch.arange(N))
    values = [divergence(kind, q.log_softmax(-1), each) for each in (narrow, wide)]
    torch.testing.assert_close(values[1], values[0])
    gradients = [torch.autograd.grad(value.sum(), q, retain_graph=True)[0] for value in values]
    assert bool(gradients[1].isfinite().all())
    torch.testing.assert_close(gradients[1], gradients[0])


def test_a_teacher_that_is_certain_gives_the_cross_entropy_of_its_token() -> None:
    q = logits(12).float().log_softmax(-1).requires_grad_()
    tokens = torch.arange(N)[:, None]
    certain = Distributions(log_probs=torch.zeros(N, 1), ids=tokens, log_rest=torch.full((N,), float("-inf")))
    torch.testing.assert_close(divergence("kl", q, certain), -q.gather(1, tokens).squeeze(1))
    assert float(divergence("reverse_kl", q, certain).detach().abs().max()) == 0
    bound = divergence("jsd", q, certain)
    assert bool((bound <= np.log(2) + 1e-6).all())
    (gradient,) = torch.autograd.grad(bound.sum(), q)
    assert bool(gradient.isfinite().all())
