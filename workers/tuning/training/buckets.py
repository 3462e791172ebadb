"""Buckets of rows of similar length: index tensors that gather the packed tokens to padded rows, and back.

A batch has about as many lengths as rows, and a call of an attention kernel costs as much as the attention of some rows. A
bucket therefore takes rows of several lengths. Only attention sees the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from service.engine.shapes import Float, Int, Tensor
from workers.tuning.training.batches import LengthGroup

# Rows join a bucket if they have at least this share of the scores of its longest row.
MIN_SHARE = 0.5


@dataclass(frozen=True)
class Bucket:
    """Padded rows.

    Attributes:
        queries: `[rows, new]`, indices into the packed queries; −1 is padding, at the end of a row.
        keys: `[rows, length]`, indices into the keys; −1 is padding, at the end of a row.
        sees: `[rows, new]`, the index within its row's keys of the last key that a query attends to.
        members: `[rows]`, the member of each row.
        n_virtual: number of the row's first keys that are virtual positions shared by the rows of a member.
    """

    queries: Int[Tensor, "rows new"]
    keys: Int[Tensor, "rows length"]
    sees: Int[Tensor, "rows new"]
    members: Int[Tensor, " rows"]
    n_virtual: int

    @property
    def n_rows(self) -> int:
        return len(self.queries)

    def bias(self, *, window: int | None) -> Float[Tensor, "rows new length"]:
        """float32; 0 where a query attends and −inf elsewhere. A padding query attends to the first key."""
        at = torch.arange(self.keys.shape[1])
        hidden = at > self.sees[:, :, None]
        if window is not None:
            hidden |= at <= self.sees[:, :, None] - window
        return torch.zeros(hidden.shape).masked_fill_(hidden, -torch.inf)

    def by_member(self, n_members: int) -> Float[Tensor, "members rows"]:
        """1 where a row belongs to a member."""
        return (torch.arange(n_members)[:, None] == self.members).float()


class HeadIndex:
    """Gathers vectors of heads `[n, heads, d]` to `[rows, heads / group, group · width, d]` of each bucket, and back.

    Args:
        at: `[rows, width]` of each bucket, indices of the n; −1 is padding.
        group: consecutive heads that are laid out as one.
    """

    def __init__(self, at: Sequence[Int[Tensor, "rows width"]], *, n_heads: int, group: int) -> None:
        self._n_heads = n_heads
        heads = torch.arange(n_heads).view(1, n_heads // group, group, 1)
        self._flat = [(part.clamp_min(0)[:, None, None] * n_heads + heads).flatten(0) for part in at]
        self._shapes = [(len(part), n_heads // group, group * part.shape[1]) for part in at]
        # The padding's places among a bucket's vectors.
        self._padding = [
            (part < 0)[:, None, None].expand(-1, n_heads // group, group, -1).flatten().nonzero().flatten()
            for part in at
        ]

    def gather(self, packed: Tensor, bucket: int) -> Tensor:
        """Padding has the values of index 0."""
        rows = packed.flatten(0, 1).index_select(0, self._flat[bucket])
        return rows.view(*self._shapes[bucket], packed.shape[-1])

    def gather_padded(self, packed: Tensor, bucket: int) -> Tensor:
        """Padding is 0."""
        rows = self.gather(packed, bucket)
        if len(self._padding[bucket]):
            rows.view(-1, packed.shape[-1]).index_fill_(0, self._padding[bucket], 0)
        return rows

    def scatter(self, parts: Sequence[Tensor]) -> Tensor:
        """`[n, heads, d]` from each bucket's vectors; padding is dropped. An index that occurs several times has one of them."""
        d = parts[0].shape[-1]
        flat = [part.reshape(-1, d) for part in parts]
        joined = torch.cat(flat) if len(flat) > 1 else flat[0]
        return joined.index_select(0, self._places).view(-1, self._n_heads, d)

    @cached_property
    def _places(self) -> Tensor:
        """The place of each vector `[n · heads]` among those of all buckets."""
        index = torch.cat(self._flat)
        kept = torch.ones(len(index), dtype=torch.bool)
        start = 0
        for flat, padding in zip(self._flat, self._padding, strict=True):
            kept[start + padding] = False
            start += len(flat)
        places = kept.nonzero().flatten()
        found = torch.empty(int(index.max()) + 1, dtype=torch.long)
        found[index[places]] = places
        return found


def buckets_of(
    groups: Sequence[LengthGroup],
    *,
    n_members: int,
    n_virtual: int,
    n_front: int,
    of_answers: bool,
) -> list[Bucket]:
    """Buckets of the text rows, and one of the members' virtual tokens if they have queries.

    Keys are the virtual positions of all members, member by member, followed by the text; so are queries, if the virtual
    tokens are packed.

    Args:
        n_virtual: virtual positions of a member that have keys.
        n_front: virtual tokens in the pack.
        of_answers: only the answer tokens have queries.
    """
    rows = _text_rows(groups, n_members=n_members, n_virtual=n_virtual, n_front=n_front, of_answers=of_answers)
    found = [_joined(part, n_virtual=n_virtual) for part in _similar(rows)]
    if n_front and not of_answers:
        at = torch.arange(n_front).view(n_members, -1)
        own = torch.arange(at.shape[1]).expand_as(at)
        found.insert(0, Bucket(at, at, own, torch.arange(n_members), 0))
    return found


def _text_rows(
    groups: Sequence[LengthGroup], *, n_members: int, n_virtual: int, n_front: int, of_answers: bool
) -> list[Bucket]:
    """One bucket without padding for each group."""
    found, queries_at, keys_at = [], 0 if of_answers else n_front, n_members * n_virtual
    virtual = torch.arange(n_members * n_virtual).view(n_members, n_virtual)
    for group in groups:
        n, new = n_members * group.n_rows, group.n_answers if of_answers else group.length
        members = torch.arange(n_members).repeat_interleave(group.n_rows)
        text = torch.arange(keys_at, keys_at + n * group.length).view(n, -1)
        sees = torch.arange(n_virtual + group.length - new, n_virtual + group.length).expand(n, -1)
        queries = torch.arange(queries_at, queries_at + n * new).view(n, -1)
        found.append(Bucket(queries, torch.cat([virtual[members], text], 1), sees, members, n_virtual))
        queries_at += n * new
        keys_at += n * group.length
    return found


def _similar(rows: Sequence[Bucket]) -> list[list[Bucket]]:
    """Split ``rows`` so that padding at most doubles the number of scores."""
    found: list[list[Bucket]] = []
    for part in sorted(rows, key=_n_scores, reverse=True):
        if found and _n_scores(part) >= MIN_SHARE * _n_scores(found[-1][0]):
            found[-1].append(part)
        else:
            found.append([part])
    return found


def _n_scores(rows: Bucket) -> int:
    return rows.queries.shape[1] * rows.keys.shape[1]


def _joined(parts: Sequence[Bucket], *, n_virtual: int) -> Bucket:
    return Bucket(
        _padded([part.queries for part in parts], value=-1),
        _padded([part.keys for part in parts], value=-1),
        _padded([part.sees for part in parts], value=0),
        torch.cat([part.members for part in parts]),
        n_virtual,
    )


def _padded(parts: Sequence[Tensor], *, value: int) -> Tensor:
    width = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1]), value=value) for part in parts])
