"""Filters of a sampling step: temperature, min_p, top_k and top_p."""

from __future__ import annotations

import numpy as np
import torch

from service.engine.sampling.parameters import Draws, FilterGroup
from service.engine.shapes import Bool, Float, Int, Tensor


def filtered_weights(scores: Float[Tensor, "drawing vocab"], draws: Draws) -> Float[Tensor, "drawing vocab"]:
    """Unnormalised float64 probabilities after temperature, min_p, top_k and top_p; zero for tokens that a filter removes."""
    largest = scores.amax(dim=-1, keepdim=True).double()
    # Subtracting the maximum before the division prevents overflow at a tiny temperature.
    weights = ((scores.double() - largest) / draws.temperature).exp()
    for group in draws.groups:
        own = scores[group.rows]
        ordered = _largest_values(own, group.width)
        logits = (ordered.double() - largest[group.rows]) / draws.temperature[group.rows]
        n_head = _n_kept(logits, group)
        last = ordered.gather(1, n_head.unsqueeze(1) - 1)
        weights[group.rows] *= _head_mask(own, last=last, n_head=n_head)
    return weights


def _n_kept(logits: Float[Tensor, "rows width"], group: FilterGroup) -> Int[Tensor, " rows"]:
    """Number of tokens that each row keeps; all three filters keep the first of the sorted tokens.

    logits: in descending order, shifted so that the largest is 0.
    """
    n_head = (logits >= group.least).sum(dim=-1).minimum(group.top_k)
    share = logits.exp().cumsum(dim=-1)
    target = group.top_p * share.gather(1, n_head.unsqueeze(1) - 1)
    return ((share < target).sum(dim=-1) + 1).minimum(n_head)


def _head_mask(
    values: Float[Tensor, "rows vocab"], *, last: Float[Tensor, "rows 1"], n_head: Int[Tensor, " rows"]
) -> Bool[Tensor, "rows vocab"]:
    """True at the n_head largest values of each row, the smallest of which is ``last``; of equal values, lower ids first."""
    n_most = n_head.unsqueeze(1)
    at_least = values >= last
    # Elsewhere than on a CPU, this decision would wait for the device.
    if values.device.type == "cpu" and bool((at_least.sum(dim=-1, keepdim=True) == n_most).all()):
        return at_least
    above = values > last
    tied = values == last
    n_tied = n_most - above.sum(dim=-1, keepdim=True)
    return above | (tied & (tied.cumsum(dim=-1) <= n_tied))


def _largest_values(values: Float[Tensor, "rows vocab"], n: int) -> Float[Tensor, "rows n"]:
    """The n largest values of each row in descending order; only these are sorted."""
    n_vocab = values.shape[1]
    if values.device.type != "cpu":
        return values.topk(n, dim=-1).values if n < n_vocab else values.sort(dim=-1, descending=True).values
    # On a CPU, numpy sorts rows of floats several times faster than torch.
    array = values.numpy()
    if n < n_vocab:
        array = np.partition(array, n_vocab - n, axis=-1)[:, n_vocab - n :]
    return torch.from_numpy(np.sort(array, axis=-1)).flip(-1)
