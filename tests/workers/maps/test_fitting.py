from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from promptatlas.types.maps import MapSpec

from service.map_sources.vector_buffer import VectorBuffer
from service.projection.pca import PcaBasis
from workers.maps.fitting import fit_layer


def spec(**changes: Any) -> MapSpec:
    return MapSpec.model_validate({"model": "m", "sources": [{"texts": ["a"]}], "sample": 60, **changes})


def clusters(n: int, *, seed: int = 0) -> np.ndarray:
    """Three groups far apart, in order of turn."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 12)) * 20
    return (centres[np.arange(n) % 3] + rng.normal(size=(n, 12))).astype(np.float32)


def test_a_layer_is_fitted_placed_and_judged() -> None:
    vectors = clusters(90)
    found = fit_layer(vectors, layer=4, spec=spec(n_components=3))
    assert isinstance(found.basis, PcaBasis)
    np.testing.assert_array_equal(found.places, found.basis.place(vectors))
    quality = found.quality
    assert (quality.layer, quality.n_points, quality.n_held_out) == (4, 90, 12)
    assert quality.explained_variance == pytest.approx(found.basis.explained_variance)
    assert len(quality.explained_variance or ()) == 3
    for name in ("trustworthiness", "placed_trustworthiness", "refitted_trustworthiness"):
        assert 0.7 < getattr(quality, name) <= 1
    assert 0 < (quality.neighbor_overlap or 0) <= 1


def test_vectors_in_a_file_give_the_same(tmp_path: Path) -> None:
    vectors = clusters(90)
    with VectorBuffer(12, memory_bytes=0) as buffer:
        buffer.add(vectors)
        from_file = fit_layer(buffer.rows(), layer=0, spec=spec())
    in_memory = fit_layer(vectors, layer=0, spec=spec())
    np.testing.assert_array_equal(from_file.places, in_memory.places)
    assert from_file.quality == in_memory.quality


def test_of_more_points_than_are_fitted_the_rest_is_placed() -> None:
    vectors = clusters(150)
    some = fit_layer(vectors, layer=0, spec=spec(method="tsne", perplexity=10), max_fitted=60)
    assert np.isfinite(some.places).all()
    assert some.quality.n_points == 150
    # Every point, fitted or placed, lies with its own group.
    centres = np.stack([some.places[i::3].mean(0) for i in range(3)])
    nearest = ((some.places[:, None] - centres[None]) ** 2).sum(2).argmin(1)
    np.testing.assert_array_equal(nearest, np.arange(150) % 3)
