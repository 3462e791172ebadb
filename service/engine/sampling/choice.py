"""The next token of each row, and log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from service.engine.sampling.filters import filtered_weights
from service.engine.sampling.parameters import Adjustments, StepParameters
from service.engine.sampling.row_sampler import RowSampler
from service.engine.shapes import Float, Int, Tensor


def choose(logits: Float[Tensor, "rows vocab"], samplers: Sequence[RowSampler]) -> Int[Tensor, " rows"]:
    """The next token of each row, on the device of the logits. Does not modify the logits, and does not call observe()."""
    if all(sampler.is_greedy and sampler.is_plain for sampler in samplers):
        return _largest(logits)
    parameters = StepParameters.of(samplers, n_vocab=logits.shape[1], device=logits.device)
    scores = logits.float()
    if parameters.adjustments is not None:
        scores = _adjusted(scores.clone() if scores is logits else scores, parameters.adjustments)
    chosen = _largest(scores)
    if (draws := parameters.draws) is not None:
        weights = filtered_weights(scores[draws.rows], draws)
        chosen[draws.rows] = _draw(weights, draws.uniforms)
    return chosen


def token_logprobs(
    logits: Float[Tensor, "rows vocab"], chosen: Int[Tensor, "rows"], n_top: int
) -> tuple[Float[Tensor, "rows"], Int[Tensor, "rows n_top"], Float[Tensor, "rows n_top"]]:
    """Log-probabilities under the model's own distribution, before bias, penalties, temperature and filters.

    Returns:
        In nats, float32: those of the chosen tokens; ids and log-probabilities of the n_top most probable, in order.
    """
    scores = logits.float()
    logprobs = scores.log_softmax(dim=-1)  # faster than logsumexp on a CPU, though it writes more
    own = logprobs.gather(1, chosen.unsqueeze(1))
    top_values, top_ids = logprobs.topk(min(n_top, scores.shape[1]), dim=-1)
    return own.squeeze(1), top_ids, top_values


def _draw(weights: Float[Tensor, "rows vocab"], uniforms: Float[Tensor, "rows 1"]) -> Int[Tensor, " rows"]:
    cumulative = weights.cumsum(dim=-1)
    index = torch.searchsorted(cumulative, uniforms * cumulative[:, -1:], right=True).squeeze(1)
    return index.clamp_max(weights.shape[1] - 1)


def _adjusted(scores: Float[Tensor, "rows vocab"], changes: Adjustments) -> Float[Tensor, "rows vocab"]:
    """Bias, then penalties, then endings, in place."""
    flat = scores.view(-1)
    if len(changes.bias_at):
        flat[changes.bias_at] += changes.bias.float()
    if len(changes.seen_rows):
        own = scores[changes.seen_rows]
        seen = torch.zeros(own.shape, dtype=torch.bool, device=own.device)
        seen.view(-1)[changes.seen_at] = True
        penalty = changes.repetition.float()
        scores[changes.seen_rows] = torch.where(seen, torch.where(own > 0, own / penalty, own * penalty), own)
    if len(changes.counted_rows):
        counts = torch.zeros(len(changes.counted_rows), scores.shape[1], device=scores.device)
        # Counts are whole numbers, so the order of the additions does not matter.
        counts.view(-1).index_add_(0, changes.counted_at, torch.ones_like(changes.counted_at, dtype=torch.float32))
        frequency, presence = changes.frequency.float(), changes.presence.float()
        scores[changes.counted_rows] -= frequency * counts + presence * (counts > 0)
    if len(changes.endings_at):
        flat[changes.endings_at] = -math.inf
    return scores


def _largest(logits: Float[Tensor, "rows vocab"]) -> Int[Tensor, " rows"]:
    if logits.device.type == "cpu":
        # On a CPU, numpy's argmax is ten times as fast as torch's. numpy has no bfloat16.
        return torch.from_numpy(logits.detach().float().numpy().argmax(axis=-1))
    return logits.argmax(dim=-1)
