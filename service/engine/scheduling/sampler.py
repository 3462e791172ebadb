"""Sampler: chooses the next token of each row of a batch, and computes log-probabilities.

A row's logits are processed in this order:

1. ``logit_bias`` is added;
2. ``repetition_penalty``: logits of tokens seen in input or output are divided by it when positive, else multiplied;
3. ``frequency_penalty`` times the count in the output, then ``presence_penalty`` once, are subtracted;
4. ``min_tokens``: tokens that would end the row are removed until it has that many;
5. at temperature 0 the largest is chosen; otherwise the logits are divided by the temperature;
6. ``min_p`` keeps tokens with at least that fraction of the largest probability;
7. ``top_k`` keeps the k most probable of those;
8. ``top_p`` keeps the fewest most probable of those whose share of their total probability reaches p;
9. one token is drawn.

Each filter keeps the first of the tokens sorted by logit; of equal logits at the limit, the lower token ids are kept.
A draw inverts the cumulative distribution, in the order of token ids and in float64, at a uniform number that depends only
on the row's seed, stream and step: a row's tokens do not depend on the other rows of the batch.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch

from service.engine.requests import Sampling
from service.engine.shapes import Bool, Float, Int, Tensor
from service.errors import InvalidRequest


class RowSampler:
    """Sampling state of one row: its parameters, the tokens seen so far, and its random stream.

    Args:
        sampling: the row's parameters.
        vocab_size: width of the logits.
        input_ids: the row's text tokens before the first generated one; repetition_penalty covers them.
        stream: index of the random stream of the seed (the row's index in its request).
        device: of the logits.
        min_tokens: number of tokens before which none of ``ending_ids`` is chosen.

    Raises:
        InvalidRequest: a parameter is out of its range.
    """

    def __init__(
        self,
        sampling: Sampling,
        *,
        vocab_size: int,
        input_ids: Sequence[int],
        stream: int,
        device: torch.device,
        min_tokens: int = 0,
        ending_ids: Collection[int] = (),
    ) -> None:
        _check(sampling, vocab_size=vocab_size)
        self.sampling = sampling
        self.is_greedy = sampling.temperature == 0
        self.n_observed = 0
        seed = sampling.seed if sampling.seed is not None else int.from_bytes(os.urandom(8), "little")
        self._stream_key = f"{seed}/{stream}/"
        self._min_tokens = min_tokens if ending_ids else 0
        self.ending_ids = torch.tensor(sorted(ending_ids), dtype=torch.int64, device=device)
        self.bias_ids, self.bias_values = _bias_tensors(sampling.logit_bias, device=device)
        # Tensors of the vocabulary's size are allocated only for rows that need them.
        self.seen: Tensor | None = None
        self.counts: Tensor | None = None
        if sampling.repetition_penalty != 1:
            self.seen = torch.zeros(vocab_size, dtype=torch.bool, device=device)
            self.seen[torch.tensor(list(input_ids), dtype=torch.int64, device=device)] = True
        if sampling.presence_penalty or sampling.frequency_penalty:
            self.counts = torch.zeros(vocab_size, dtype=torch.float32, device=device)

    @property
    def is_plain(self) -> bool:
        """Whether only temperature and filters change the model's logits."""
        is_changed = self.seen is not None or self.counts is not None or self.sampling.logit_bias
        return not is_changed and self.may_end

    @property
    def may_end(self) -> bool:
        """Whether the next token may be one that ends the row."""
        return self.n_observed >= self._min_tokens

    def observe(self, token_id: int) -> None:
        """Count a generated token, and advance the random stream by one step."""
        self.n_observed += 1
        if self.seen is not None:
            self.seen[token_id] = True
        if self.counts is not None:
            self.counts[token_id] += 1

    def uniform(self) -> float:
        """The number in [0, 1) of this step's draw; the same at every call until ``observe``."""
        # 48 bits, so that its product with a float64 sum stays below that sum in spite of rounding.
        digest = hashlib.blake2b(f"{self._stream_key}{self.n_observed}".encode(), digest_size=6).digest()
        return int.from_bytes(digest, "little") / 2**48


def choose(logits: Float[Tensor, "rows vocab"], samplers: Sequence[RowSampler]) -> list[int]:
    """The next token of each row, given its sampler. Does not modify the logits, and does not call observe()."""
    if all(sampler.is_greedy and sampler.is_plain for sampler in samplers):
        return _largest(logits)
    scores = _adjusted(logits, samplers)
    chosen = _largest(scores)
    drawing = [row for row, sampler in enumerate(samplers) if not sampler.is_greedy]
    if drawing:
        rows = torch.tensor(drawing, device=logits.device)
        weights = filtered_weights(scores[rows], [samplers[row].sampling for row in drawing])
        drawn = _draw(weights, _column([samplers[row].uniform() for row in drawing], like=weights))
        for row, token_id in zip(drawing, drawn, strict=True):
            chosen[row] = token_id
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


def filtered_weights(scores: Float[Tensor, "rows vocab"], samplings: Sequence[Sampling]) -> Float[Tensor, "rows vocab"]:
    """Unnormalised float64 probabilities after temperature, min_p, top_k and top_p; zero for tokens that a filter removes."""
    temperatures = torch.tensor(
        [[sampling.temperature] for sampling in samplings], dtype=torch.float64, device=scores.device
    )
    largest = scores.amax(dim=-1, keepdim=True).double()
    # Subtracting the maximum before the division prevents overflow at a tiny temperature.
    weights = ((scores.double() - largest) / temperatures).exp()
    filtered = [row for row, sampling in enumerate(samplings) if not _is_unfiltered(sampling)]
    if filtered:
        rows = torch.tensor(filtered, device=scores.device)
        ordered = _descending(scores[rows])
        logits = (ordered.double() - largest[rows]) / temperatures[rows]
        n_head = _n_kept(logits, [samplings[row] for row in filtered])
        last = ordered.gather(1, n_head.unsqueeze(1) - 1)
        weights[rows] *= _head_mask(scores[rows], last=last, n_head=n_head)
    return weights


def _n_kept(logits: Float[Tensor, "rows vocab"], samplings: Sequence[Sampling]) -> Int[Tensor, "rows"]:
    """Number of tokens that each row keeps; all three filters keep the first of the sorted tokens.

    logits: in descending order, shifted so that the largest is 0.
    """
    n_vocab = logits.shape[1]
    least = _column([math.log(s.min_p) if s.min_p > 0 else -math.inf for s in samplings], like=logits)
    top_k = torch.tensor([min(s.top_k or n_vocab, n_vocab) for s in samplings], device=logits.device)
    n_head = (logits >= least).sum(dim=-1).minimum(top_k)
    # Infinity instead of 1, so that rounding cannot remove tokens of a row without top_p.
    top_p = _column([s.top_p if s.top_p < 1 else math.inf for s in samplings], like=logits)
    share = logits.exp().cumsum(dim=-1)
    target = top_p * share.gather(1, n_head.unsqueeze(1) - 1)
    return ((share < target).sum(dim=-1) + 1).minimum(n_head)


def _head_mask(
    values: Float[Tensor, "rows vocab"], *, last: Float[Tensor, "rows 1"], n_head: Int[Tensor, "rows"]
) -> Bool[Tensor, "rows vocab"]:
    """True at the n_head largest values of each row, the smallest of which is ``last``; of equal values, lower ids first."""
    n_most = n_head.unsqueeze(1)
    at_least = values >= last
    if bool((at_least.sum(dim=-1, keepdim=True) == n_most).all()):
        return at_least
    above = values > last
    tied = values == last
    n_tied = n_most - above.sum(dim=-1, keepdim=True)
    return above | (tied & (tied.cumsum(dim=-1) <= n_tied))


def _descending(values: Float[Tensor, "rows vocab"]) -> Float[Tensor, "rows vocab"]:
    if values.device.type == "cpu":
        # On a CPU, numpy sorts rows of floats several times faster than torch.
        return torch.from_numpy(np.sort(values.numpy(), axis=-1)).flip(-1)
    return values.sort(dim=-1, descending=True).values


def _draw(weights: Float[Tensor, "rows vocab"], uniforms: Float[Tensor, "rows 1"]) -> list[int]:
    cumulative = weights.cumsum(dim=-1)
    index = torch.searchsorted(cumulative, uniforms * cumulative[:, -1:], right=True).squeeze(1)
    return _token_ids(index.clamp_max(weights.shape[1] - 1))


def _adjusted(logits: Float[Tensor, "rows vocab"], samplers: Sequence[RowSampler]) -> Float[Tensor, "rows vocab"]:
    """Float32 logits after bias and penalties; the model's own if no row has any."""
    scores = logits.float()
    if all(sampler.is_plain for sampler in samplers):
        return scores
    scores = scores.clone() if scores is logits else scores
    _add_bias(scores, samplers)
    _penalise_repetition(scores, samplers)
    _penalise_counts(scores, samplers)
    _remove_endings(scores, samplers)
    return scores


def _add_bias(scores: Float[Tensor, "rows vocab"], samplers: Sequence[RowSampler]) -> None:
    for row, sampler in enumerate(samplers):
        if sampler.sampling.logit_bias:
            scores[row, sampler.bias_ids] += sampler.bias_values


def _penalise_repetition(scores: Float[Tensor, "rows vocab"], samplers: Sequence[RowSampler]) -> None:
    rows = [row for row, sampler in enumerate(samplers) if sampler.seen is not None]
    if not rows:
        return
    seen = torch.stack([s.seen for s in samplers if s.seen is not None])
    penalty = _column([samplers[row].sampling.repetition_penalty for row in rows], like=scores)
    index = torch.tensor(rows, device=scores.device)
    own = scores[index]
    scores[index] = torch.where(seen, torch.where(own > 0, own / penalty, own * penalty), own)


def _penalise_counts(scores: Float[Tensor, "rows vocab"], samplers: Sequence[RowSampler]) -> None:
    rows = [row for row, sampler in enumerate(samplers) if sampler.counts is not None]
    if not rows:
        return
    counts = torch.stack([s.counts for s in samplers if s.counts is not None])
    frequency = _column([samplers[row].sampling.frequency_penalty for row in rows], like=scores)
    presence = _column([samplers[row].sampling.presence_penalty for row in rows], like=scores)
    scores[torch.tensor(rows, device=scores.device)] -= frequency * counts + presence * (counts > 0)


def _remove_endings(scores: Float[Tensor, "rows vocab"], samplers: Sequence[RowSampler]) -> None:
    for row, sampler in enumerate(samplers):
        if not sampler.may_end:
            scores[row, sampler.ending_ids] = -math.inf


def _largest(logits: Float[Tensor, "rows vocab"]) -> list[int]:
    if logits.device.type == "cpu":
        # On a CPU, numpy's argmax is ten times as fast as torch's. numpy has no bfloat16.
        return [int(token_id) for token_id in logits.detach().float().numpy().argmax(axis=-1)]
    return _token_ids(logits.argmax(dim=-1))


def _is_unfiltered(sampling: Sampling) -> bool:
    return sampling.min_p == 0 and sampling.top_k == 0 and sampling.top_p == 1


def _bias_tensors(
    bias: Mapping[int, float], *, device: torch.device
) -> tuple[Int[Tensor, "n_biased"], Float[Tensor, "n_biased"]]:
    ids = torch.tensor(list(bias), dtype=torch.int64, device=device)
    return ids, torch.tensor(list(bias.values()), dtype=torch.float32, device=device)


def _column(values: Sequence[float], *, like: Float[Tensor, "..."]) -> Float[Tensor, "rows 1"]:
    return torch.tensor(values, dtype=like.dtype, device=like.device).unsqueeze(1)


def _token_ids(ids: Int[Tensor, "rows"]) -> list[int]:
    return [int(token_id) for token_id in ids.tolist()]


def _check(sampling: Sampling, *, vocab_size: int) -> None:
    _expect(0 <= sampling.temperature < math.inf, "temperature", "at least 0", sampling.temperature)
    _expect(sampling.top_k >= 0, "top_k", "at least 0", sampling.top_k)
    _expect(0 < sampling.top_p <= 1, "top_p", "above 0 and at most 1", sampling.top_p)
    _expect(0 <= sampling.min_p <= 1, "min_p", "from 0 to 1", sampling.min_p)
    _expect(0 < sampling.repetition_penalty < math.inf, "repetition_penalty", "above 0", sampling.repetition_penalty)
    for name in ("presence_penalty", "frequency_penalty"):
        _expect(math.isfinite(getattr(sampling, name)), name, "finite", getattr(sampling, name))
    for token_id, bias in sampling.logit_bias.items():
        _expect(0 <= token_id < vocab_size, "logit_bias", f"of token ids from 0 to {vocab_size - 1}", token_id)
        _expect(math.isfinite(bias), "logit_bias", "finite", bias)


def _expect(condition: bool, name: str, expected: str, value: float) -> None:
    if not condition:
        raise InvalidRequest(f"{name} must be {expected}, got {value}", loc=(name,))
