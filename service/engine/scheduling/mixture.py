"""Posterior predictive: the mean of several rows' next-token probabilities, and how these rows read their input together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from service.engine.scheduling.sequence import SequenceState
from service.engine.shapes import Float, Tensor
from service.engine.transfers import to_device


def mixture_logprobs(logits: Float[Tensor, "members vocab"]) -> Float[Tensor, " vocab"]:
    """Log of the mean of the members' softmax probabilities, in nats, float32.

    log((1/K) Σ_k p_k) is computed as logsumexp over the members of their log-probabilities, minus log K.
    """
    return logits.float().log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(logits))


def row_logits(
    logits: Float[Tensor, "kept vocab"],
    choosing: Sequence[tuple[SequenceState, int]],
    *,
    at: Mapping[int, int | None],
) -> Float[Tensor, "rows vocab"]:
    """The logits that each choosing row takes its next token from; for a row with followers, log-probabilities of the mean.

    Args:
        choosing: rows, with the row of the logits of each.
        at: by ``id`` of a row, its row of the logits.
    """
    index = [i for _, i in choosing]
    chosen = logits
    if index != list(range(len(logits))):
        chosen = logits[to_device(logits.device, [torch.tensor(index)])[0]]
    mixed = [(k, row) for k, (row, _) in enumerate(choosing) if row.followers]
    if not mixed:
        return chosen
    chosen = chosen.float().clone()
    members = [torch.tensor([at[id(member)] for member in row.members]) for _, row in mixed]
    for (k, _), rows in zip(mixed, to_device(logits.device, members), strict=True):
        chosen[k] = mixture_logprobs(logits[rows])
    return chosen


class StepBudget:
    """Tokens of inputs that a forward may read.

    The rows of an ensemble read the last token of their input in the same forward, because the next token is chosen from the
    predictions of all. An ensemble whose inputs do not fit the budget reads all but its last tokens first; the last ones are
    then read whatever the budget is, like the tokens of decoding rows.
    """

    def __init__(self, n_tokens: int) -> None:
        self._n_left = n_tokens
        self._is_whole: dict[int, bool] = {}

    def take(self, row: SequenceState) -> int:
        """Number of tokens that ``row`` reads; 0 if it has to wait."""
        if row.leader is None:
            return self._spend(row.n_pending)
        if id(row.leader) not in self._is_whole:
            self._is_whole[id(row.leader)] = self._reserve(row.leader.members)
        return row.n_pending if self._is_whole[id(row.leader)] else self._spend(row.n_pending - 1)

    def _reserve(self, members: Sequence[SequenceState]) -> bool:
        """Whether the rows read all their tokens, which are then subtracted from the budget."""
        if all(row.n_pending == 1 for row in members):
            return True
        n_tokens = sum(row.n_pending for row in members)
        if n_tokens > self._n_left:
            return False
        self._n_left -= n_tokens
        return True

    def _spend(self, n_wanted: int) -> int:
        n = min(self._n_left, n_wanted)
        self._n_left -= n
        return n
