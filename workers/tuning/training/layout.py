"""Layout of members and examples in one packed forward.

The pack has first the virtual tokens of all members, if these are packed. Then it has, for each group of rows of equal
length, the text of all members' rows.
"""

from __future__ import annotations

import torch

from service.engine.attention.kernels import causal_bias
from service.engine.shapes import Float, Int, Tensor
from workers.tuning.training.batches import Batch
from workers.tuning.training.buckets import HeadIndex, buckets_of
from workers.tuning.training.member_attention import Rows

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
        self._rows: dict[tuple[object, ...], Rows] = {}
        self._biases: dict[tuple[int, int, int | None, torch.dtype], Tensor] = {}

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

    def rows(
        self,
        *,
        n_virtual: int,
        packs_virtual: bool,
        of_answers: bool,
        n_heads: int,
        n_kv_heads: int,
        window: int | None,
    ) -> Rows:
        """Rows of one layer's attention; layers with the same arguments share them.

        Args:
            n_virtual: virtual positions with keys.
            packs_virtual: whether the pack begins with the virtual tokens.
            of_answers: whether only the answer tokens have queries.
        """
        arguments = (n_virtual, packs_virtual, of_answers, n_heads, n_kv_heads, window)
        if arguments not in self._rows:
            buckets = buckets_of(
                self.batch.groups,
                n_members=self.n_members,
                n_virtual=n_virtual,
                n_front=self.n_front if packs_virtual else 0,
                of_answers=of_answers,
            )
            self._rows[arguments] = Rows(
                buckets=tuple(buckets),
                queries=HeadIndex([b.queries for b in buckets], n_heads=n_heads, group=n_heads // n_kv_heads),
                keys=HeadIndex([b.keys for b in buckets], n_heads=n_kv_heads, group=1),
                biases=tuple(b.bias(window=window) for b in buckets),
                n_members=self.n_members,
            )
        return self._rows[arguments]

    def bias(self, new: int, length: int, *, window: int | None, like: Tensor) -> Tensor:
        key = (new, length, window, like.dtype)
        if key not in self._biases or self._biases[key].device != like.device:
            self._biases[key] = causal_bias(new, length, window=window, like=like)
        return self._biases[key]
