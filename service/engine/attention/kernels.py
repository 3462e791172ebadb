"""One attention path for everything: serving, capture, compiling prompts, tuning.

transformers calls ``packed_attention`` for each layer with the new tokens of ALL rows side by side (`[1, heads, tokens, d]`,
no padding). What they attend to is up to the *plan* handed through the model as a keyword argument. Kernels for the two shapes
of work are here; this module knows neither prompts nor requests.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch.nn import functional as F  # noqa: N812 (the name everybody uses)
from transformers import AttentionInterface

from service.engine.shapes import Bool, Float, Tensor

ATTENTION_NAME = "promptatlas"
METADATA_ARGUMENT = "atlas_plan"


class AttentionMetadata(Protocol):
    """What the new tokens of one forward attend to."""

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        """query `[tokens, n_heads, d_head]`, key and value `[tokens, n_kv_heads, d_head]` → `[tokens, n_heads, d_value]`."""


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The function registered with transformers; shapes as its attention interface has them."""
    plan: AttentionMetadata | None = others.pop(METADATA_ARGUMENT, None)
    if plan is None:
        raise TypeError(
            f"the model was run without {METADATA_ARGUMENT}, or its layers do not pass keyword arguments on"
        )
    if others.get("s_aux") is not None or others.get("position_bias") is not None:
        raise TypeError("attention sinks and position biases are not supported")
    out = plan.attend(
        module.layer_idx,
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        scale=scaling if scaling is not None else query.shape[-1] ** -0.5,
        window=sliding_window,
        softcap=softcap,
    )
    return out.unsqueeze(0), None


def register() -> None:
    """Make ``attn_implementation="promptatlas"`` known to transformers, with no mask function: the plan masks."""
    AttentionInterface.register(ATTENTION_NAME, packed_attention)


def attend_rows(
    query: Float[Tensor, "rows n_heads d"],
    keys: Float[Tensor, "rows n_kv_heads length d"],
    values: Float[Tensor, "rows n_kv_heads length dv"],
    *,
    bias: Float[Tensor, "rows length"] | None,
    scale: float,
    softcap: float | None,
) -> Float[Tensor, "rows n_heads dv"]:
    """One new token a row against its cache. Query heads of one key head stand as that head's queries: nothing is repeated."""
    n_rows, n_heads, _ = query.shape
    grouped = query.reshape(n_rows, keys.shape[1], n_heads // keys.shape[1], -1)
    mask = None if bias is None else bias[:, None, None, :]
    if softcap is None:
        out = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=scale)
    else:
        out = _probabilities(grouped, keys, bias=mask, scale=scale, softcap=softcap) @ values
    return out.reshape(n_rows, n_heads, -1)


def attend_sequence(
    query: Float[Tensor, "batch n_heads new d"],
    keys: Float[Tensor, "batch n_kv_heads length d"],
    values: Float[Tensor, "batch n_kv_heads length dv"],
    *,
    window: int | None,
    scale: float,
    softcap: float | None,
    bias: Float[Tensor, "new length"] | None = None,
) -> Float[Tensor, "batch n_heads new dv"]:
    """The last ``new`` of ``length`` tokens, causally (and within ``window`` positions, if one is given).

    bias: what ``causal_bias`` gives for these numbers, where the caller has it already.
    """
    new, length = query.shape[2], keys.shape[2]
    windowed = window is not None and window < length
    gqa = query.shape[1] != keys.shape[1]
    if softcap is None and new == length and not windowed:
        return F.scaled_dot_product_attention(query, keys, values, is_causal=True, scale=scale, enable_gqa=gqa)
    if bias is None:
        bias = causal_bias(new, length, window=window, like=query)
    if softcap is None:
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=bias, scale=scale, enable_gqa=gqa)
    groups = query.shape[1] // keys.shape[1]
    weights = _probabilities(query, keys.repeat_interleave(groups, 1), bias=bias, scale=scale, softcap=softcap)
    return weights @ values.repeat_interleave(groups, 1)


def causal_mask(new: int, length: int, *, window: int | None, device: torch.device) -> Bool[Tensor, "new length"]:
    """True where query i (at position ``length - new + i``) may look at key j."""
    query_at = torch.arange(length - new, length, device=device)[:, None]
    key_at = torch.arange(length, device=device)[None, :]
    mask = key_at <= query_at
    if window is not None:
        mask &= key_at > query_at - window
    return mask


def causal_bias(new: int, length: int, *, window: int | None, like: Tensor) -> Float[Tensor, "new length"]:
    """0 where query i may look at key j and −inf elsewhere, in the type and on the device of ``like``."""
    hidden = ~causal_mask(new, length, window=window, device=like.device)
    return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)


def attention_probabilities(
    query: Float[Tensor, "new n_heads d"],
    keys: Float[Tensor, "n_kv_heads length d"],
    *,
    visible: Bool[Tensor, "new length"],
    scale: float,
    softcap: float | None,
) -> Float[Tensor, "new n_heads length"]:
    """The attention pattern itself, for the ``attn_probs`` site; float32 softmax."""
    groups = query.shape[1] // keys.shape[0]
    bias = torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -torch.inf)
    full = keys.repeat_interleave(groups, 0).float()
    return _probabilities(query.transpose(0, 1).float(), full, bias=bias, scale=scale, softcap=softcap).transpose(0, 1)


def _probabilities(query: Tensor, keys: Tensor, *, bias: Tensor | None, scale: float, softcap: float | None) -> Tensor:
    scores = query @ keys.transpose(-1, -2) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1)
