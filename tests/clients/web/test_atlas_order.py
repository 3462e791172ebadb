"""Tests of what keeps maps of a million points fast: sorting, order statistics and projections, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Page

from tests.clients.web.conftest import OpenPage
from tests.clients.web.test_atlas_parts import call

CAMERA = """(async () => {
  const { Camera } = await import('/web/js/plot/camera.js');
  const camera = Object.assign(new Camera(), { width: 900, height: 700 });
  if (given.isRotated) camera.rotate(70, 40);
  camera.fit({ min: [-2, -2, -2], max: [2, 2, 2] });
  camera.pan(31, -17);
  const c = new Float32Array(given.points);
  const pixels = Array.from({ length: c.length / 3 }, (_, i) => camera.toScreen(c[3 * i], c[3 * i + 1], c[3 * i + 2]));
  const isVisible = (i) => i % 4 !== 0;
"""


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    return open_page("datasets")


def cloud(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)


def test_indices_are_sorted_by_their_digits_and_stable(page: Page) -> None:
    rng = np.random.default_rng(3)
    low, high = rng.integers(0, 2**16, 5000), rng.integers(0, 3, 5000)
    low[::7] = low[0]
    body = "[...m.sortedIndices([new Uint16Array(given[0]), new Uint16Array(given[1])], given[0].length)]"
    found = call(page, "plot/order.js", body, [low.tolist(), high.tolist()])
    assert found == np.lexsort((low, high)).tolist()
    assert call(page, "plot/order.js", "[...m.sortedIndices([new Uint16Array(0)], 0)]") == []


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1001])
@pytest.mark.parametrize("ties", [False, True])
def test_quantiles_are_those_of_numpy(page: Page, n: int, ties: bool) -> None:
    values = np.random.default_rng(n).normal(size=n).astype(np.float32)
    values = values.round() if ties else values
    shares = [0, 0.02, 0.25, 0.5, 0.9, 1]
    body = "given.shares.map((share) => m.quantile(new Float32Array(given.values), share))"
    found = call(page, "plot/order.js", body, {"values": values.tolist(), "shares": shares})
    np.testing.assert_allclose(found, np.quantile(values.astype(np.float64), shares), rtol=1e-6, atol=1e-7)
    middle = call(page, "plot/order.js", f"m.select(new Float32Array(given), {n // 2})", values.tolist())
    assert middle == np.sort(values)[n // 2]


@pytest.mark.parametrize("is_rotated", [False, True])
def test_the_point_under_the_pointer_is_the_nearest_visible_one(page: Page, is_rotated: bool) -> None:
    places = np.random.default_rng(5).uniform([0, 0], [900, 700], size=(200, 2))
    body = f"""{CAMERA}
      const index = new m.ScreenIndex(camera, c, isVisible);
      return [pixels, given.places.map(([x, y]) => index.nearest(x, y))];
    }})()"""
    given = {"points": cloud(3000).ravel().tolist(), "isRotated": is_rotated, "places": places.tolist()}
    pixels, found = call(page, "plot/screen_index.js", f"await {body}", given)
    shown = np.array(pixels)
    inside = (shown >= 0).all(1) & (shown <= [900, 700]).all(1) & (np.arange(3000) % 4 != 0)
    distances = np.where(inside, np.linalg.norm(places[:, None] - shown, axis=2), np.inf)
    expected = np.where(distances.min(1) <= 9, distances.argmin(1), -1)
    assert found == expected.tolist()
    assert 20 < (expected >= 0).sum() < 200


@pytest.mark.parametrize("is_rotated", [False, True])
def test_points_beyond_the_edges_are_counted_once(page: Page, is_rotated: bool) -> None:
    body = f"""{CAMERA}
      camera.zoom(2.3);
      const looks = new Uint8Array(4 * pixels.length).map((_, k) => (k % 4 === 2 && isVisible((k - 2) / 4) ? 1 : 0));
      const shown = pixels.map((_, i) => camera.toScreen(c[3 * i], c[3 * i + 1], c[3 * i + 2]));
      return [shown, m.beyond(camera, c, looks)];
    }})()"""
    given = {"points": cloud(2000).ravel().tolist(), "isRotated": is_rotated}
    pixels, found = call(page, "plot/view_range.js", f"await {body}", given)
    x, y = np.array(pixels)[np.arange(2000) % 4 != 0].T
    inside = (x >= 0) & (x <= 900)
    assert found == {
        "left": (x < 0).sum(),
        "right": (x > 900).sum(),
        "above": (inside & (y < 0)).sum(),
        "below": (inside & (y > 700)).sum(),
    }
    assert min(found.values()) > 5


def test_an_index_set_has_each_index_once(page: Page) -> None:
    body = "((s) => [s.size, [...Array(9).keys()].filter((i) => s.has(i))])(new m.IndexSet(9, [3, 5, 3, 8]))"
    assert call(page, "atlas/index_set.js", body) == [3, [3, 5, 8]]
