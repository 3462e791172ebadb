"""Principal components against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from service.errors import InvalidRequest
from service.projection.pca import PcaBasis, PcaFit, fit_pca


def cloud(n: int = 701, d: int = 23, *, offset: float = 0.0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, d)) @ np.diag(np.linspace(5, 0.5, d)) + offset).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_components_are_those_of_a_full_decomposition(offset: float) -> None:
    points = cloud(offset=offset)
    full = PCA(5, svd_solver="full").fit(points.astype(np.float64))
    basis = fit_pca(points, n_components=5)
    signs = np.sign((basis.components * full.components_).sum(1))[:, None]
    np.testing.assert_allclose(basis.components, full.components_ * signs, atol=2e-4)
    np.testing.assert_allclose(basis.explained_variance, full.explained_variance_ratio_, rtol=1e-4)
    expected = full.transform(points.astype(np.float64)) * signs.T
    np.testing.assert_allclose(basis.place(points), expected, atol=0.02 if offset else 3e-3)


def test_blocks_give_what_one_array_gives() -> None:
    points = cloud()
    whole = fit_pca(points, n_components=3)
    pieces = fit_pca((points[i : i + 97] for i in range(0, len(points), 97)), n_components=3)
    np.testing.assert_allclose(pieces.components, whole.components, atol=1e-5)
    np.testing.assert_allclose(pieces.mean, whole.mean, atol=1e-5)
    assert pieces.n_points == len(points)


def test_the_sign_is_fixed() -> None:
    points = cloud()
    components = fit_pca(points, n_components=4).components
    assert (components[np.arange(4), np.abs(components).argmax(1)] > 0).all()
    np.testing.assert_allclose(fit_pca(-points, n_components=4).components, components, atol=1e-4)


def test_what_is_kept_places_the_same() -> None:
    points = cloud()
    basis = fit_pca(points, n_components=3)
    again = PcaBasis.from_tensors(basis.tensors(), facts=basis.facts())
    np.testing.assert_array_equal(again.place(points), basis.place(points))
    assert again.explained_variance == basis.explained_variance
    assert basis.first(2).place(points).shape == (len(points), 2)
    assert basis.place(points[:0]).shape == (0, 3)


def test_points_without_spread_have_no_explained_variance() -> None:
    assert fit_pca(np.ones((4, 3), np.float32), n_components=2).explained_variance == [0.0, 0.0]


def test_bad_points_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="at least 2 points"):
        fit_pca(np.ones((1, 3), np.float32), n_components=1)
    with pytest.raises(InvalidRequest, match="at least 2 points"):
        fit_pca(iter([]), n_components=1)
    with pytest.raises(InvalidRequest, match="at most 3 components"):
        fit_pca(np.ones((4, 3), np.float32), n_components=4)
    with pytest.raises(InvalidRequest, match="finite"):
        fit_pca(np.array([[np.nan, 1.0], [1.0, 1.0]]), n_components=1)
    with pytest.raises(InvalidRequest, match=r"\[n, 3\]"):
        PcaFit(3).add(np.ones((2, 4), np.float32))
