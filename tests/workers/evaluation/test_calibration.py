"""Measures of calibration against scikit-learn and plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from workers.evaluation.calibration import Predictions, disagreement, measures_of, reliability_bins

N, V = 400, 7


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logprobs = (2 * torch.randn(N, V, generator=generator, dtype=torch.float64)).log_softmax(-1)
    return logprobs, torch.multinomial((0.5 * logprobs).softmax(-1), 1, generator=generator).squeeze(1)


def test_measures_are_those_of_scikit_learn_and_numpy() -> None:
    logprobs, targets = drawn()
    found = measures_of(Predictions.of(logprobs, targets))
    p, y = logprobs.exp().numpy(), targets.numpy()
    assert found["nll"] == pytest.approx(log_loss(y, p, labels=range(V)), rel=1e-9)
    assert found["brier"] == pytest.approx(((p - np.eye(V)[y]) ** 2).sum(1).mean(), rel=1e-9)
    confidence, correct = p.max(1), p.argmax(1) == y
    ece = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            ece += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert found["ece"] == pytest.approx(ece, rel=1e-9)
    assert found["ece"] > 0.05
    best = np.argsort(-confidence, kind="stable")
    assert found["token_accuracy"] == pytest.approx(correct.mean())
    assert found["accuracy_at_50"] == pytest.approx(correct[best[:200]].mean())
    assert found["accuracy_at_80"] == pytest.approx(correct[best[:320]].mean())


def test_bins_cover_all_tokens() -> None:
    found = Predictions.of(*drawn())
    bins = reliability_bins(found)
    assert sum(each.n for each in bins) == N
    assert all(each.low < each.confidence <= each.high for each in bins if each.n)


def test_parts_are_joined_in_order() -> None:
    logprobs, targets = drawn()
    parts = [Predictions.of(logprobs[:9], targets[:9]), Predictions.of(logprobs[9:], targets[9:])]
    assert measures_of(Predictions.joined(parts)) == measures_of(Predictions.of(logprobs, targets))


def test_disagreement_is_the_share_of_pairs() -> None:
    predicted = torch.tensor([[1, 2, 3], [1, 2, 4], [1, 5, 6]])
    assert disagreement(predicted) == pytest.approx((0 + 2 / 3 + 1) / 3)
    assert disagreement(predicted[:1]) == 0
