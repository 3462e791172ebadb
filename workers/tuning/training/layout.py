"""Layout of members and examples in one packed forward, and the attention between their tokens.

The pack has first the virtual tokens of all members, if these are packed. Then it has, for each group of rows of equal
length, the text of all members' rows. Each row attends to the virtual positions of its member and causally to itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from service.engine.attention.kernels import AttentionSpec, attend_sequence, causal_bias
from service.engine.shapes import Float, Int, Tensor
from workers.tuning.training.batches import Batch

KeysValues = tuple[
    Float[Tensor, "n_members n_kv_heads n_virtual d"], Float[Tensor, "n_members n_kv_heads n_virtual dv"]
]
"""Keys and values of the virtual positions in one layer."""


class Layout:
    """Sizes and indices of one forward.

    Args:
        n_virtual: virtual positions of a member, which precede the text.
        n_packed_virtual: virtual tokens of a member that are packed with the text: all of them, or 0 for a prefix.
    """

    def __init__(self, batch: Batch, *, n_members: int, n_virtual: int, n_packed_virtual: int) -> None:
        self.batch = batch
        self.n_members = n_members
        self.n_virtual = n_virtual
        self.n_front = n_members * n_packed_virtual
        self.n_text = n_members * batch.n_tokens
        self.n_tokens = self.n_front + self.n_text
        self.front = slice(0, self.n_front)
        self.text = slice(self.n_front, self.n_tokens)
        self._biases: dict[tuple[int, int, int | None], Tensor] = {}

    @property
    def positions(self) -> Int[Tensor, " tokens"]:
        front = torch.arange(self.n_virtual).repeat(self.n_front // self.n_virtual if self.n_virtual else 0)
        groups = (
            torch.arange(self.n_virtual, self.n_virtual + g.length).repeat(self.n_members * g.n_rows)
            for g in self.batch.groups
        )
        return torch.cat([front, *groups])

    @property
    def ids(self) -> Int[Tensor, " text"]:
        return torch.cat([g.ids.flatten().repeat(self.n_members) for g in self.batch.groups])

    @property
    def targets(self) -> Int[Tensor, " answers"]:
        return torch.cat([g.targets.flatten().repeat(self.n_members) for g in self.batch.groups])

    @property
    def answers(self) -> Int[Tensor, " answers"]:
        """Indices, within the text, of the tokens that predict answers."""
        found, offset = [], 0
        for g in self.batch.groups:
            rows = self.n_members * g.n_rows
            at = torch.arange(offset, offset + rows * g.length).reshape(rows, g.length)
            found.append(at[:, g.length - g.n_answers :].flatten())
            offset += rows * g.length
        return torch.cat(found)

    def sums_by_member(self, values: Float[Tensor, " answers"]) -> Float[Tensor, " n_members"]:
        """The sum of the values over each member's answer tokens."""
        sizes = [self.n_members * g.targets.numel() for g in self.batch.groups]
        return torch.stack([part.reshape(self.n_members, -1).sum(1) for part in torch.split(values, sizes)]).sum(0)

    def rows_of(self, packed: Tensor, *, lengths: list[int]) -> list[Tensor]:
        """`[tokens, heads, d]` → `[members·rows, heads, length, d]` of each group."""
        rows = [self.n_members * g.n_rows for g in self.batch.groups]
        parts = torch.split(packed, [n * length for n, length in zip(rows, lengths, strict=True)])
        return [
            part.reshape(n, length, *part.shape[1:]).transpose(1, 2)
            for part, n, length in zip(parts, rows, lengths, strict=True)
        ]

    def bias(self, new: int, length: int, *, window: int | None, like: Tensor) -> Tensor:
        key = (new, length, window)
        if key not in self._biases or self._biases[key].device != like.device:
            self._biases[key] = causal_bias(new, length, window=window, like=like)
        return self._biases[key]


@dataclass(frozen=True)
class MemberMetadata:
    """Attention metadata of one block.

    Attributes:
        virtual: known keys and values of the virtual positions; None if there are none, or if they are in the pack.
        packs_virtual: whether the pack begins with the members' virtual tokens.
        text: keys and values `[tokens, n_kv_heads, d]` of the text, if only answer tokens are run.
    """

    layout: Layout
    virtual: KeysValues | None = None
    packs_virtual: bool = False
    text: tuple[Tensor, Tensor] | None = None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, spec: AttentionSpec) -> Tensor:
        layout, virtual, parts = self.layout, self.virtual, []
        if self.packs_virtual:
            n = layout.n_front
            q, k, v = (by_member(t[:n], n_members=layout.n_members) for t in (query, key, value))
            out = attend_sequence(q, k, v, spec=spec)
            parts.append(out.transpose(1, 2).flatten(0, 1))
            query, key, value, virtual = query[n:], key[n:], value[n:], (k, v)
        if self.text is not None:
            key, value = self.text
        parts += self._attend_text(query, key, value, virtual, spec=spec)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _attend_text(
        self, query: Tensor, key: Tensor, value: Tensor, virtual: KeysValues | None, *, spec: AttentionSpec
    ) -> list[Tensor]:
        layout, groups = self.layout, self.layout.batch.groups
        lengths = [g.length for g in groups]
        query_lengths = lengths if self.text is None else [g.n_answers for g in groups]
        queries = layout.rows_of(query, lengths=query_lengths)
        parts = []
        for q, k, v in zip(
            queries, layout.rows_of(key, lengths=lengths), layout.rows_of(value, lengths=lengths), strict=True
        ):
            if virtual is not None:
                k, v = _with_virtual(virtual[0], k), _with_virtual(virtual[1], v)
            bias = layout.bias(q.shape[2], k.shape[2], window=spec.window, like=q)
            out = attend_sequence(q, k, v, spec=spec, bias=bias)
            parts.append(out.transpose(1, 2).flatten(0, 1))
        return parts


def by_member(packed: Float[Tensor, "virtual heads d"], *, n_members: int) -> Float[Tensor, "members heads n d"]:
    """Reshape the packed virtual tokens of all members to one row per member."""
    return packed.reshape(n_members, -1, *packed.shape[1:]).transpose(1, 2)


def _with_virtual(virtual: Tensor, text: Tensor) -> Tensor:
    """Prepend ``virtual`` `[members, heads, n_virtual, d]` to the rows of ``text`` `[members·rows, heads, length, d]`."""
    n_members = virtual.shape[0]
    rows = text.reshape(n_members, -1, *text.shape[1:])
    front = virtual[:, None].to(text.dtype).expand(-1, rows.shape[1], -1, -1, -1)
    return torch.cat([front, rows], dim=3).flatten(0, 1)
