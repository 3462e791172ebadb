from __future__ import annotations

import numpy as np
import pytest

from service.map_sources.vector_buffer import VectorBuffer


def blocks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 5)).astype(np.float32) for n in (3, 1, 0, 7, 2)]


@pytest.mark.parametrize(("memory_bytes", "on_disk"), [(13 * 20, False), (13 * 20 - 1, True), (0, True)])
def test_rows_come_back_in_order_wherever_they_are(memory_bytes: int, on_disk: bool) -> None:
    with VectorBuffer(5, memory_bytes=memory_bytes) as buffer:
        for block in blocks():
            buffer.add(block)
        assert buffer.is_on_disk is on_disk
        assert buffer.n_rows == 13
        np.testing.assert_array_equal(buffer.rows(), np.concatenate(blocks()))
        np.testing.assert_array_equal(buffer.rows()[[12, 0]], np.concatenate(blocks())[[12, 0]])


def test_a_block_is_copied() -> None:
    block = blocks()[0]
    with VectorBuffer(5, memory_bytes=1000) as buffer:
        buffer.add(block)
        block[:] = 0
        assert buffer.rows().any()


def test_nothing_is_rows_too() -> None:
    with VectorBuffer(5, memory_bytes=10) as buffer:
        assert buffer.rows().shape == (0, 5)


def test_rows_of_another_width_are_refused() -> None:
    with VectorBuffer(5, memory_bytes=10) as buffer, pytest.raises(ValueError, match="rows of 5"):
        buffer.add(np.zeros((2, 4), np.float32))
