"""The attention function of the model, for serving, capture, prompt compilation and tuning.

transformers calls ``packed_attention`` in each layer with the new tokens of all rows concatenated (`[1, heads, tokens, d]`,
no padding). The ``AttentionMetadata`` that the model passes through as a keyword argument decides what each token attends
to. The kernels for decode steps and for whole sequences are here. This module knows neither prompts nor requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)
from transformers import AttentionInterface

from service.engine.shapes import Bool, Float, Tensor

ATTENTION_NAME = "promptatlas"
METADATA_ARGUMENT = "attention_metadata"


@dataclass(frozen=True)
class AttentionSpec:
    """How one layer scores keys.

    Attributes:
        scale: factor of the dot products.
        window: a query attends to this many positions at most, its own included; None: to all before it.
        softcap: scores s become ``softcap * tanh(s / softcap)``; None: they stay.
    """

    scale: float
    window: int | None
    softcap: float | None


class AttentionMetadata(Protocol):
    """What the new tokens of one forward attend to."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, spec: AttentionSpec) -> Tensor:
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
    """The function registered with transformers; shapes as its attention interface has them.

    Raises:
        TypeError: the layers do not pass the metadata on, or they use attention sinks or position biases.
    """
    metadata: AttentionMetadata | None = others.pop(METADATA_ARGUMENT, None)
    if metadata is None:
        raise TypeError(
            f"expected the keyword argument {METADATA_ARGUMENT}, got none: the model was run without it, or its layers do "
            "not pass keyword arguments on."
        )
    if others.get("s_aux") is not None or others.get("position_bias") is not None:
        raise TypeError("attention sinks and position biases are not supported.")
    out = metadata.attend(
        module.layer_idx,
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        spec=AttentionSpec(scaling if scaling is not None else query.shape[-1] ** -0.5, sliding_window, softcap),
    )
    return out.unsqueeze(0), None


def register() -> None:
    """Register ``attn_implementation="promptatlas"`` with transformers, without a mask function: the metadata masks."""
    AttentionInterface.register(ATTENTION_NAME, packed_attention)


def attend_rows(
    query: Float[Tensor, "rows n_heads d"],
    keys: Float[Tensor, "rows n_kv_heads length d"],
    values: Float[Tensor, "rows n_kv_heads length dv"],
    *,
    bias: Float[Tensor, "rows length"] | None,
    spec: AttentionSpec,
) -> Float[Tensor, "rows n_heads dv"]:
    """One new token per row against its cached keys and values.

    The query heads that share a key head are laid out as queries of that head, so keys and values are not repeated.

    Args:
        bias: 0 where a row attends and −inf elsewhere, the window included; None: each row attends to all entries.
    """
    n_rows, n_heads, _ = query.shape
    grouped = query.reshape(n_rows, keys.shape[1], n_heads // keys.shape[1], -1)
    mask = None if bias is None else bias[:, None, None, :]
    if spec.softcap is None:
        out = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=spec.scale)
    else:
        out = _probabilities(grouped, keys, bias=mask, spec=spec) @ values
    return out.reshape(n_rows, n_heads, -1)


def attend_sequence(
    query: Float[Tensor, "batch n_heads new d"],
    keys: Float[Tensor, "batch n_kv_heads length d"],
    values: Float[Tensor, "batch n_kv_heads length dv"],
    *,
    spec: AttentionSpec,
    bias: Float[Tensor, "*batch new length"] | None = None,
) -> Float[Tensor, "batch n_heads new dv"]:
    """Causal attention of the last ``new`` of ``length`` tokens, within the window if there is one.

    Args:
        bias: the result of ``causal_bias`` for these lengths, if the caller has it already; or what each row attends to,
            `[batch, 1, new, length]`, instead of causal attention.
    """
    new, length = query.shape[2], keys.shape[2]
    is_windowed = spec.window is not None and spec.window < length
    gqa = query.shape[1] != keys.shape[1]
    is_causal = bias is None or bias.ndim == 2
    if is_causal and spec.softcap is None and new == length and not is_windowed:
        return F.scaled_dot_product_attention(query, keys, values, is_causal=True, scale=spec.scale, enable_gqa=gqa)
    if bias is None:
        bias = causal_bias(new, length, window=spec.window, like=query)
    if spec.softcap is None:
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=bias, scale=spec.scale, enable_gqa=gqa)
    groups = query.shape[1] // keys.shape[1]
    weights = _probabilities(query, keys.repeat_interleave(groups, 1), bias=bias, spec=spec)
    return weights @ values.repeat_interleave(groups, 1)


def causal_mask(new: int, length: int, *, window: int | None, device: torch.device) -> Bool[Tensor, "new length"]:
    """True where query i (at position ``length - new + i``) attends to key j."""
    query_at = torch.arange(length - new, length, device=device)[:, None]
    key_at = torch.arange(length, device=device)[None, :]
    mask = key_at <= query_at
    if window is not None:
        mask &= key_at > query_at - window
    return mask


def causal_bias(new: int, length: int, *, window: int | None, like: Tensor) -> Float[Tensor, "new length"]:
    """0 where query i attends to key j and −inf elsewhere, in the dtype and on the device of ``like``."""
    hidden = ~causal_mask(new, length, window=window, device=like.device)
    return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)


def attention_probabilities(
    query: Float[Tensor, "new n_heads d"],
    keys: Float[Tensor, "n_kv_heads length d"],
    *,
    visible: Bool[Tensor, "new length"],
    spec: AttentionSpec,
) -> Float[Tensor, "new n_heads length"]:
    """The attention pattern of the ``attn_probs`` site; float32 softmax."""
    groups = query.shape[1] // keys.shape[0]
    bias = torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, -torch.inf)
    full = keys.repeat_interleave(groups, 0).float()
    return _probabilities(query.transpose(0, 1).float(), full, bias=bias, spec=spec).transpose(0, 1)


ReportedSite = Callable[..., Tensor]
"""Computes a site's rows `[new, n_heads, length]` from query and keys, as ``attention_probabilities`` does."""

REPORTED_SITES: Mapping[str, ReportedSite] = {"attn_probs": attention_probabilities}
"""Sites that are no module's output: the attention computes and reports them."""


def _probabilities(query: Tensor, keys: Tensor, *, bias: Tensor | None, spec: AttentionSpec) -> Tensor:
    scores = query @ keys.transpose(-1, -2) * spec.scale
    if spec.softcap is not None:
        scores = torch.tanh(scores / spec.softcap) * spec.softcap
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1)
