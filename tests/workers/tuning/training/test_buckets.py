from __future__ import annotations

import pytest
import torch

from workers.inputs.examples import EncodedExample
from workers.tuning.training.batches import batch_of
from workers.tuning.training.buckets import HeadIndex, buckets_of

LENGTHS = ((3, 2), (5, 1), (4, 4), (3, 2), (9, 3), (30, 2))
BATCH = batch_of([EncodedExample(tuple(range(n)), tuple(range(m))) for n, m in LENGTHS])
N_MEMBERS, N_VIRTUAL = 3, 4


@pytest.mark.parametrize("of_answers", [False, True])
@pytest.mark.parametrize("packs_virtual", [False, True])
def test_every_query_sees_its_member_and_its_own_text(packs_virtual: bool, of_answers: bool) -> None:
    n_front = N_MEMBERS * N_VIRTUAL if packs_virtual else 0
    buckets = buckets_of(BATCH.groups, n_members=N_MEMBERS, n_virtual=N_VIRTUAL, n_front=n_front, of_answers=of_answers)
    seen = {}
    for bucket in buckets:
        visible = bucket.bias(window=None) == 0
        for row in range(bucket.n_rows):
            for query, sees in zip(bucket.queries[row].tolist(), visible[row], strict=True):
                if query >= 0:
                    assert query not in seen
                    seen[query] = bucket.keys[row][sees].tolist()
    assert seen == expected(packs_virtual=packs_virtual, of_answers=of_answers)


def expected(*, packs_virtual: bool, of_answers: bool) -> dict[int, list[int]]:
    """The keys of each query, from the description of the pack."""
    found = {}
    virtual = [list(range(m * N_VIRTUAL, (m + 1) * N_VIRTUAL)) for m in range(N_MEMBERS)]
    if packs_virtual and not of_answers:
        found = {at: own[: i + 1] for own in virtual for i, at in enumerate(own)}
    query, key = len(found), N_MEMBERS * N_VIRTUAL
    for group in BATCH.groups:
        for member in range(N_MEMBERS):
            for _ in range(group.n_rows):
                first = group.length - group.n_answers if of_answers else 0
                for i in range(first, group.length):
                    found[query] = virtual[member] + list(range(key, key + i + 1))
                    query += 1
                key += group.length
    return found


def test_rows_of_similar_length_share_a_bucket_and_others_do_not() -> None:
    buckets = buckets_of(BATCH.groups, n_members=1, n_virtual=0, n_front=0, of_answers=False)
    # Texts of 31, 11, 7 and 5, and 4 and 4 tokens.
    assert [tuple(bucket.queries.shape) for bucket in buckets] == [(1, 31), (1, 11), (2, 7), (2, 4)]


def test_a_window_hides_earlier_keys() -> None:
    (bucket,) = buckets_of(
        batch_of([EncodedExample((1, 2, 3, 4), (5,))]).groups, n_members=1, n_virtual=2, n_front=0, of_answers=False
    )
    visible = (bucket.bias(window=3) == 0)[0].long().tolist()
    assert visible == [[1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1]]


def test_vectors_are_gathered_by_head_and_scattered_back() -> None:
    at = [torch.tensor([[0, 1, -1], [3, 4, 5]]), torch.tensor([[2]])]
    index = HeadIndex(at, n_heads=4, group=2)
    packed = torch.arange(6 * 4 * 2, dtype=torch.float32).reshape(6, 4, 2)
    rows = index.gather(packed, 0)
    assert rows.shape == (2, 2, 6, 2)
    assert torch.equal(rows[1, 1, 3:], packed[[3, 4, 5], 3])
    padded = index.gather_padded(packed, 0)
    assert torch.equal(
        padded[0, 0], torch.stack([*packed[[0, 1], 0], torch.zeros(2), *packed[[0, 1], 1], torch.zeros(2)])
    )
    assert torch.equal(index.scatter([index.gather(packed, i) for i in range(2)]), packed)
