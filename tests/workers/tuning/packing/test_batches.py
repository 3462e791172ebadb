from __future__ import annotations

import itertools

import pytest

from tests.workers.tuning.small_training import TRAIN, examples
from workers.inputs.examples import EncodedExample
from workers.tuning.packing.batches import Order, batch_of, cut


def drawn(order: Order, n_batches: int) -> list[int]:
    return [i for step in range(n_batches) for i in order.batch(step)]


def test_every_epoch_is_a_new_permutation_and_all_batches_are_full() -> None:
    order = Order(7, batch_size=3, seed=0)
    places = drawn(order, 7)
    epochs = [places[i : i + 7] for i in (0, 7, 14)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert all(len(order.batch(step)) == 3 for step in range(7))


def test_the_order_depends_only_on_seed_and_step() -> None:
    order = Order(7, batch_size=3, seed=5)
    whole = [order.batch(step) for step in range(20)]
    backwards = [Order(7, batch_size=3, seed=5).batch(step) for step in reversed(range(20))]
    assert backwards[::-1] == whole
    assert drawn(Order(7, batch_size=3, seed=6), 7) != drawn(order, 7)


def test_a_batch_larger_than_the_data_repeats_examples() -> None:
    batch = Order(2, batch_size=5, seed=0).batch(0)
    assert sorted(batch[:2]) == sorted(batch[2:4]) == [0, 1]


def test_rows_of_a_group_have_equal_lengths_without_padding() -> None:
    batch = batch_of(TRAIN)
    read = [row.tolist() for group in batch.groups for row in group.ids]
    assert sorted(read) == sorted([*e.input_ids, *e.target_ids[:-1]] for e in TRAIN)
    for group in batch.groups:
        assert len({(e.length, len(e.target_ids)) for e in group.examples}) == 1
        assert [tuple(row.tolist()) for row in group.targets] == [e.target_ids for e in group.examples]
    sizes = [(group.length, group.n_answers) for group in batch.groups]
    assert sizes == sorted(set(sizes))
    assert batch.n_tokens == sum(e.length for e in TRAIN)
    assert batch.n_answers == sum(len(e.target_ids) for e in TRAIN)


def test_examples_of_equal_length_share_a_group_in_order() -> None:
    a, b, c = EncodedExample((1, 2), (3,)), EncodedExample((4,), (5, 6)), EncodedExample((7, 8), (9,))
    groups = batch_of([a, b, c]).groups
    assert [group.examples for group in groups] == [(a, c), (b,)]


@pytest.mark.parametrize(("n", "parts", "sizes"), [(7, 3, [2, 2, 3]), (2, 5, [1, 1]), (4, 1, [4])])
def test_cut_keeps_the_order_and_balances_sizes(n: int, parts: int, sizes: list[int]) -> None:
    pieces = cut(examples(n, seed=0), parts=parts)
    assert list(itertools.chain(*pieces)) == examples(n, seed=0)
    assert [len(piece) for piece in pieces] == sizes
