from __future__ import annotations

import pytest
import torch

from service.engine.attention.kv_cache import KVShape, LayerShape


def shape_of(*layers: tuple[int, int, int]) -> KVShape:
    cpu = torch.device("cpu")
    return KVShape(tuple(LayerShape(heads, d_key, d_value, cpu) for heads, d_key, d_value in layers), torch.float32)


@pytest.mark.parametrize(
    ("layers", "is_even"),
    [
        ([(2, 3, 3), (2, 3, 3)], True),
        ([(2, 3, 3), (1, 3, 3)], False),
        ([(2, 3, 3), (2, 5, 5)], False),
        ([(2, 3, 5), (2, 3, 5)], False),
    ],
)
def test_a_prefix_needs_one_shape_throughout(layers: list[tuple[int, int, int]], is_even: bool) -> None:
    assert shape_of(*layers).is_even is is_even
