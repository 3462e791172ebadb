"""Batches of a harvest for training on activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from promptatlas import Harvest

from tests.clients.python.promptatlas.fake_harvest import states


def batches(store: Any) -> list[np.ndarray]:
    return [np.asarray(batch) for batch in store]


def test_batches_in_order(harvest: Harvest) -> None:
    store = harvest.activations_store("resid_post", 3, batch_size=3)
    found = batches(store)
    assert [len(batch) for batch in found] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(found), states())
    assert store.d_in == 3
    assert len(batches(store)) == 3


def test_batches_without_added_tokens(harvest: Harvest) -> None:
    [batch] = batches(harvest.activations_store("resid_post.3", skip_added=True))
    np.testing.assert_array_equal(batch, states()[[1, 2, 3, 5, 6]])


def test_shuffled_batches_are_a_seeded_order_of_the_same_rows(harvest: Harvest) -> None:
    store = harvest.activations_store("resid_post.3", batch_size=2, shuffle=True, seed=3)
    first, second = (np.concatenate(batches(store)) for _ in range(2))
    for found in (first, second):
        np.testing.assert_array_equal(np.sort(found[:, 0]), states()[:, 0])
    assert not np.array_equal(first, states())
    assert not np.array_equal(first, second)
    again = harvest.activations_store("resid_post.3", batch_size=2, shuffle=True, seed=3)
    np.testing.assert_array_equal(np.concatenate(batches(again)), first)


def test_shuffling_within_single_shards(harvest: Harvest) -> None:
    rows = np.concatenate(batches(harvest.activations_store("norm", shuffle=True, n_mixed=1)))
    assert {tuple(sorted(rows[:3])), tuple(sorted(rows[:4]))} & {(0, 10, 20, 30), (40, 50, 60)}


def test_next_batch_is_endless_and_always_full(harvest: Harvest) -> None:
    store = harvest.activations_store("norm", batch_size=5)
    found = [np.asarray(store.next_batch()) for _ in range(4)]
    assert [len(batch) for batch in found] == [5] * 4
    np.testing.assert_array_equal(np.concatenate(found), np.resize(states()[:, 0], 20))
    with pytest.raises(ValueError, match="rows that are vectors"):
        _ = store.d_in


def test_batches_are_writable(plain: Harvest) -> None:
    torch = pytest.importorskip("torch")
    store = plain.activations_store("norm", batch_size=7)
    got = store.next_batch()
    assert isinstance(got, torch.Tensor)
    got += 1
    np.testing.assert_array_equal(plain["norm"], states()[:, 0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "expected 1 or more"),
        ({"n_mixed": 0}, "expected 1 or more"),
        ({"shuffle": "all"}, "expected True, False or 'global', got 'all'"),
    ],
)
def test_invalid_options(plain: Harvest, wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plain.activations_store("norm", **wrong)


def test_one_random_order_of_all_rows(harvest: Harvest) -> None:
    store = harvest.activations_store("resid_post.3", batch_size=2, shuffle="global", seed=1)
    first, second = batches(store), batches(store)
    assert [len(batch) for batch in first] == [2, 2, 2, 1]
    for found in (first, second):
        np.testing.assert_array_equal(np.sort(np.concatenate(found)[:, 0]), states()[:, 0])
        np.testing.assert_array_equal(np.diff(np.concatenate(found), axis=1), 1)
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    again = harvest.activations_store("resid_post.3", batch_size=2, shuffle="global", seed=1)
    np.testing.assert_array_equal(np.concatenate(batches(again)), np.concatenate(first))
    shards = {tuple(row < 40 for row in batch[:, 0]) for batch in first}
    assert (True, False) in shards or (False, True) in shards


def test_a_random_order_without_added_tokens(harvest: Harvest) -> None:
    store = harvest.activations_store("norm", batch_size=3, shuffle="global", skip_added=True)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches(store))), states()[[1, 2, 3, 5, 6], 0])


@pytest.mark.parametrize("shuffle", [False, True, "global"])
def test_several_tensors_have_rows_of_the_same_tokens(harvest: Harvest, shuffle: Any) -> None:
    store = harvest.activations_store(["resid_post.3", "norm"], batch_size=3, shuffle=shuffle, skip_added=True)
    found = list(store)
    assert [sorted(batch) for batch in found] == [["norm", "resid_post.3"]] * 2
    for batch in found:
        np.testing.assert_array_equal(np.asarray(batch["resid_post.3"])[:, 0], np.asarray(batch["norm"]))
    assert sum(len(batch["norm"]) for batch in found) == 5
    assert sorted(next(store.endless())) == ["norm", "resid_post.3"]
    with pytest.raises(ValueError, match="vectors of one length"):
        _ = store.d_in


def test_a_list_has_no_layer_and_is_not_empty(plain: Harvest) -> None:
    for site, layer in (([], None), (["resid_post"], 3)):
        with pytest.raises(ValueError, match="expected a tensor, or a list"):
            plain.activations_store(site, layer)


@pytest.mark.parametrize("shuffle", [False, True, "global"])
def test_shares_of_an_epoch_have_each_row_once(harvest: Harvest, shuffle: Any) -> None:
    store = harvest.activations_store("norm", batch_size=2, shuffle=shuffle, seed=5, n_mixed=1)
    shares = [np.concatenate([np.asarray(b) for b in store.epoch(4, part=part, n_parts=2)]) for part in range(2)]
    assert all(len(share) for share in shares)
    np.testing.assert_array_equal(np.sort(np.concatenate(shares)), states()[:, 0])
    with pytest.raises(ValueError, match="expected 0 to 1, got 2"):
        store.epoch(0, part=2, n_parts=2)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_loader_of_torch_reads_each_row_once(plain: Harvest, n_workers: int) -> None:
    torch = pytest.importorskip("torch")
    dataset = plain.activations_store("norm", batch_size=2, shuffle="global").torch_dataset()
    assert isinstance(dataset, torch.utils.data.IterableDataset)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=n_workers)
    orders = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        orders.append(torch.cat(list(loader)).numpy())
        np.testing.assert_array_equal(np.sort(orders[-1]), states()[:, 0])
    assert not np.array_equal(*orders)


def test_processes_share_the_rows(plain: Harvest) -> None:
    pytest.importorskip("torch")
    store = plain.activations_store("norm", batch_size=2, shuffle="global")
    parts = [np.concatenate(batches(store.torch_dataset(rank=rank, world_size=3))) for rank in range(3)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), states()[:, 0])
    with pytest.raises(ValueError, match="expected 0 to 2, got 3"):
        store.torch_dataset(rank=3, world_size=3)
