"""Measures of predicted distributions of tokens: negative log-likelihood, Brier score, calibration, selective accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from service.engine.shapes import Float, Int, Tensor

N_BINS = 15
COVERAGES = (0.5, 0.8)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predicted distributions of target tokens, summarised, one value for each token.

    nll: −log p of the target, in nats. brier: Σ_v (p_v − 1[v is the target])² (Brier 1950). confidence: largest probability.
    predicted: its token. is_correct: whether that is the target.
    """

    nll: Float[Tensor, " tokens"]
    brier: Float[Tensor, " tokens"]
    confidence: Float[Tensor, " tokens"]
    predicted: Int[Tensor, " tokens"]
    is_correct: Float[Tensor, " tokens"]

    @classmethod
    def of(cls, logprobs: Float[Tensor, "tokens vocab"], target_ids: Int[Tensor, " tokens"]) -> Predictions:
        """The summary of normalised log-probabilities, on the CPU."""
        own = logprobs.gather(1, target_ids[:, None]).squeeze(1).double()
        confidence, predicted = logprobs.max(1)
        brier = (2 * logprobs.double()).exp().sum(1) - 2 * own.exp() + 1
        return cls(
            nll=-own.cpu(),
            brier=brier.cpu(),
            confidence=confidence.double().exp().cpu(),
            predicted=predicted.cpu(),
            is_correct=(predicted == target_ids).double().cpu(),
        )

    @classmethod
    def joined(cls, parts: Sequence[Predictions]) -> Predictions:
        """The predictions of all parts, in order."""
        return cls(
            nll=torch.cat([part.nll for part in parts]),
            brier=torch.cat([part.brier for part in parts]),
            confidence=torch.cat([part.confidence for part in parts]),
            predicted=torch.cat([part.predicted for part in parts]),
            is_correct=torch.cat([part.is_correct for part in parts]),
        )


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Tokens whose confidence is in (low, high]. confidence, accuracy: means over its ``n`` tokens; 0 if there are none."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def reliability_bins(found: Predictions, *, n_bins: int = N_BINS) -> list[Bin]:
    """Bins of equal width."""
    index = (found.confidence * n_bins).ceil().long().clamp(1, n_bins) - 1
    counts = torch.bincount(index, minlength=n_bins)
    confidence = torch.bincount(index, weights=found.confidence, minlength=n_bins) / counts.clamp_min(1)
    accuracy = torch.bincount(index, weights=found.is_correct, minlength=n_bins) / counts.clamp_min(1)
    return [
        Bin(
            low=i / n_bins,
            high=(i + 1) / n_bins,
            n=int(counts[i]),
            confidence=float(confidence[i]),
            accuracy=float(accuracy[i]),
        )
        for i in range(n_bins)
    ]


def measures_of(found: Predictions) -> dict[str, float]:
    """``nll``, ``brier``, ``ece``, ``token_accuracy``, and ``accuracy_at_50`` and ``accuracy_at_80``.

    ece: Σ_b n_b / n · |accuracy_b − confidence_b| over 15 bins (Guo et al. 2017). accuracy_at_c: that of the c % most
    confident tokens.
    """
    n = len(found.nll)
    bins = reliability_bins(found)
    order = found.confidence.argsort(descending=True, stable=True)
    selective = {
        f"accuracy_at_{round(100 * share)}": float(found.is_correct[order[: max(1, round(share * n))]].mean())
        for share in COVERAGES
    }
    return {
        "nll": float(found.nll.mean()),
        "brier": float(found.brier.mean()),
        "ece": sum(each.n / n * abs(each.accuracy - each.confidence) for each in bins),
        "token_accuracy": float(found.is_correct.mean()),
        **selective,
    }


def disagreement(predicted: Int[Tensor, "members tokens"]) -> float:
    """Share of pairs of members that predict different tokens, mean over the tokens; 0 for one member."""
    n = len(predicted)
    if n < 2:
        return 0.0
    differ = (predicted[:, None] != predicted[None]).double().mean(2)
    return float(differ.sum() / (n * (n - 1)))
