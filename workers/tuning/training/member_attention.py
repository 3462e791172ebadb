"""Attention between the packed tokens of members on a CPU: one autograd function for all rows of a layer.

Autograd would split, transpose and concatenate the tokens of each length, and fill the gradient of each split with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 (the usual name)

from service.engine.attention import products
from service.engine.attention.kernels import AttentionSpec
from service.engine.shapes import Tensor
from workers.tuning.training.buckets import Bucket, HeadIndex

# Above this number of scores of a row and head, torch's forward kernel is faster.
MAX_PRODUCTS = 128 * 128


@dataclass(frozen=True)
class Rows:
    """All rows of a layer, and how they are gathered: queries `[queries, n_heads, d]`, keys `[keys, n_kv_heads, d]`.

    Attributes:
        biases: of each bucket.
    """

    buckets: tuple[Bucket, ...]
    queries: HeadIndex
    keys: HeadIndex
    biases: tuple[Tensor, ...]
    n_members: int


def attend_rows_of_members(rows: Rows, query: Tensor, keys: Tensor, values: Tensor, *, spec: AttentionSpec) -> Tensor:
    """Attention of all rows, `[queries, n_heads, d_value]`."""
    out: Tensor = _RowAttention.apply(rows, spec.scale, query, keys, values)  # type: ignore[no-untyped-call]
    return out


class _RowAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Rows, scale: float, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        ctx.rows, ctx.scale = rows, scale
        ctx.save_for_backward(query, keys, values)
        parts = [
            _attend(
                rows.queries.gather(query, i),
                rows.keys.gather(keys, i),
                rows.keys.gather(values, i),
                bias=bias,
                scale=scale,
            )
            for i, bias in enumerate(rows.biases)
        ]
        return rows.queries.scatter(parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows: Rows = ctx.rows
        query, keys, values = ctx.saved_tensors
        parts = [
            products.attend_backward(
                rows.queries.gather_padded(gradient, i),
                rows.queries.gather(query, i),
                rows.keys.gather(keys, i),
                rows.keys.gather(values, i),
                bias=bias,
                scale=ctx.scale,
            )
            for i, bias in enumerate(rows.biases)
        ]
        by_query = rows.queries.scatter([part[0] for part in parts])
        by_keys, by_values = (_by_key(rows, [part[i] for part in parts]) for i in (1, 2))
        return None, None, by_query, by_keys, by_values


def _attend(query: Tensor, keys: Tensor, values: Tensor, *, bias: Tensor, scale: float) -> Tensor:
    _, new, length = bias.shape
    if new * length <= MAX_PRODUCTS:
        return products.attend(query, keys, values, bias=bias, scale=scale)
    n_rows, n_kv_heads, _, d = query.shape
    heads = query.reshape(n_rows, -1, new, d)
    mask = bias[:, None].to(query.dtype)
    out = F.scaled_dot_product_attention(heads, keys, values, attn_mask=mask, scale=scale, enable_gqa=True)
    return out.reshape(n_rows, n_kv_heads, -1, values.shape[3])


def _by_key(rows: Rows, parts: list[Tensor]) -> Tensor:
    """Gradient `[n, n_kv_heads, d]` of the keys from those of each bucket's rows."""
    # Text tokens are keys of one row. Virtual tokens are keys of all rows of their member, and of their own row if packed.
    found = rows.keys.scatter(parts)
    shared = [(bucket, part) for bucket, part in zip(rows.buckets, parts, strict=True) if bucket.n_virtual]
    if not shared:
        return found
    total = sum(
        bucket.by_member(rows.n_members) @ part[:, :, : bucket.n_virtual].flatten(1).float() for bucket, part in shared
    )
    assert isinstance(total, Tensor)
    n_virtual, (n_heads, d) = shared[0][0].n_virtual, found.shape[1:]
    by_virtual = total.view(rows.n_members, n_heads, n_virtual, d).transpose(1, 2).flatten(0, 1)
    front = found[: len(by_virtual)]
    own = parts[0].transpose(1, 2).flatten(0, 1).float() if not rows.buckets[0].n_virtual else 0
    front.copy_(by_virtual + own)
    return found
