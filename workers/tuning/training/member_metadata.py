"""Attention metadata of one block in a training forward: what the members' tokens attend to."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from service.engine.attention.kernels import AttentionSpec, attend_sequence
from service.engine.shapes import Float, Tensor
from workers.tuning.training.layout import KeysValues, Layout
from workers.tuning.training.member_attention import attend_rows_of_members


@dataclass(frozen=True)
class MemberMetadata:
    """Each row attends to the virtual positions of its member and causally to itself.

    Attributes:
        virtual: known keys and values of the virtual positions; None if there are none, or if they are in the pack.
        packs_virtual: whether the pack begins with the members' virtual tokens.
        whole: keys and values `[tokens, n_kv_heads, d]` of the pack, if only answer tokens are run.
    """

    layout: Layout
    virtual: KeysValues | None = None
    packs_virtual: bool = False
    whole: tuple[Tensor, Tensor] | None = None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, *, spec: AttentionSpec) -> Tensor:
        if self.whole is not None:
            key, value = self.whole
        if query.device.type == "cpu" and spec.softcap is None:
            return self._attend_by_bucket(query, key, value, spec=spec)
        return self._attend_by_group(query, key, value, spec=spec)

    def _attend_by_bucket(self, query: Tensor, key: Tensor, value: Tensor, *, spec: AttentionSpec) -> Tensor:
        n_virtual = self.layout.n_virtual if self.packs_virtual else 0
        if self.virtual is not None:
            fronts = (part.transpose(1, 2).flatten(0, 1) for part in self.virtual)
            n_virtual = self.virtual[0].shape[2]
            key, value = (torch.cat([front.to(t.dtype), t]) for front, t in zip(fronts, (key, value), strict=True))
        rows = self.layout.rows(
            n_virtual=n_virtual,
            packs_virtual=self.packs_virtual,
            of_answers=self.whole is not None,
            n_heads=query.shape[1],
            n_kv_heads=key.shape[1],
            window=spec.window,
        )
        return attend_rows_of_members(rows, query, key, value, spec=spec)

    def _attend_by_group(self, query: Tensor, key: Tensor, value: Tensor, *, spec: AttentionSpec) -> Tensor:
        layout, virtual, parts = self.layout, self.virtual, []
        if self.packs_virtual:
            n = layout.n_front
            k, v = (by_member(t[:n], n_members=layout.n_members) for t in (key, value))
            key, value, virtual = key[n:], value[n:], (k, v)
            if self.whole is None:
                q, query = by_member(query[:n], n_members=layout.n_members), query[n:]
                parts.append(attend_sequence(q, k, v, spec=spec).transpose(1, 2).flatten(0, 1))
        parts += self._attend_text(query, key, value, virtual, spec=spec)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _attend_text(
        self, query: Tensor, key: Tensor, value: Tensor, virtual: KeysValues | None, *, spec: AttentionSpec
    ) -> list[Tensor]:
        layout, groups = self.layout, self.layout.batch.groups
        lengths = [g.length for g in groups]
        query_lengths = lengths if self.whole is None else [g.n_answers for g in groups]
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
