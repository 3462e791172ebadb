"""Tests of the atlas' modules for ranges, densities, panels and links, in a browser, against NumPy and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page
from sklearn.neighbors import KernelDensity

from tests.clients.web.conftest import OpenPage


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    return open_page("runs")


def call(page: Page, module: str, body: str, given: Any = None) -> Any:
    """The value of an expression with the module as ``m`` and ``given`` as an argument."""
    return page.evaluate(f"async (given) => {{ const m = await import('/web/js/{module}'); return {body}; }}", given)


def clouds(n: int) -> np.ndarray:
    """Two clouds and an outlier, float32 `[n, 3]`."""
    rng = np.random.default_rng(n)
    points = rng.normal(size=(n, 3)) * [1.0, 0.4, 0]
    points[: n // 3] += [4, 2, 0]
    points[0] = [90, -70, 0]
    return points.astype(np.float32)


@pytest.mark.parametrize("cropped", [0, 0.02])
@pytest.mark.parametrize("n", [1, 2, 7, 211])
def test_a_range_is_the_quantiles_of_each_axis(page: Page, n: int, cropped: float) -> None:
    points = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
    body = f"m.rangeBox(new Float32Array(given), (i) => i % 3 !== 1, {cropped})"
    box = call(page, "plot/view_range.js", body, points.ravel().tolist())
    kept = points[np.arange(n) % 3 != 1].astype(np.float64)
    np.testing.assert_allclose(box["min"], np.quantile(kept, cropped, axis=0), rtol=1e-6)
    np.testing.assert_allclose(box["max"], np.quantile(kept, 1 - cropped, axis=0), rtol=1e-6)


def test_a_range_of_nothing_is_null(page: Page) -> None:
    assert call(page, "plot/view_range.js", "m.rangeBox(new Float32Array(9), () => false)") is None


def test_a_density_is_that_of_a_gaussian_kernel(page: Page) -> None:
    points = clouds(400)
    grid = call(
        page,
        "plot/density.js",
        "(({ values, ...rest }) => ({ ...rest, values: [...values] }))(m.density(new Float32Array(given)))",
        points.ravel().tolist(),
    )
    n = len(points)
    quartiles = [np.sort(points[:, axis])[np.round([0.25 * (n - 1), 0.75 * (n - 1)]).astype(int)] for axis in (0, 1)]
    spreads = [min(points[:, axis].std(ddof=1), (high - low) / 1.349) for axis, (low, high) in enumerate(quartiles)]
    bandwidth = np.sqrt(np.mean(np.square(spreads))) * n ** (-1 / 6)
    assert grid["bandwidth"] == pytest.approx(bandwidth, rel=1e-5)
    x, y = (grid["origin"][axis] + np.arange(grid["size"]) * grid["step"][axis] for axis in (0, 1))
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    exact = np.exp(KernelDensity(bandwidth=bandwidth).fit(points[:, :2]).score_samples(places))
    np.testing.assert_allclose(grid["values"], exact, atol=0.01 * exact.max())


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_contour_surrounds_its_share_of_the_points(page: Page, share: float) -> None:
    points = clouds(400)
    level, segments = call(
        page,
        "plot/density.js",
        "(() => { const c = new Float32Array(given.points); const grid = m.density(c);"
        " const level = m.levelOf(grid, c, given.share); return [level, m.contour(grid, level)]; })()",
        {"points": points.ravel().tolist(), "share": share},
    )
    assert level > 0
    lines = np.array(segments)
    # Ray casting with the segments of all closed lines: to the right of a point inside they are crossed an odd number of times.
    x1, y1, x2, y2 = lines.T
    above = (y1 > points[:, 1:2]) != (y2 > points[:, 1:2])
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = (x2 - x1) * (points[:, 1:2] - y1) / (y2 - y1) + x1
    inside = (above & (points[:, :1] < crossing)).sum(1) % 2 == 1
    assert inside.mean() == pytest.approx(share, abs=0.01)


def test_points_without_extent_have_no_density(page: Page) -> None:
    assert call(page, "plot/density.js", "m.density(new Float32Array(30).fill(2))") is None


def test_a_state_of_the_camera_shows_the_same_in_another_window(page: Page) -> None:
    body = """(() => {
      const make = (width, height) => Object.assign(new m.Camera(), { width, height });
      const first = make(900, 700);
      first.fit({ min: [-3, -1, 0], max: [5, 9, 0] });
      first.zoom(3.7, 120, 340);
      const second = make(450, 350);
      second.restore(JSON.parse(JSON.stringify(first.state())));
      return [first.toScreen(2, 3), second.toScreen(2, 3), first.fromScreen(...first.toScreen(2, 3))];
    })()"""
    first, second, back = call(page, "plot/camera.js", body)
    np.testing.assert_allclose(np.array(second), np.array(first) / 2, atol=0.1)
    np.testing.assert_allclose(back, [2, 3], atol=1e-9)


@pytest.mark.parametrize(
    "query",
    [
        "view=1,2&lasso=1,2,3&points=-1,x&hide=",
        "view=1,2,0&lasso=1,2,3,4&points=1.5",
        "view=a,b,c&lasso=1,2,3,4,5&points=",
        "lasso=1,2,3,4,5,6~1,2",
    ],
)
def test_malformed_entries_of_a_link_are_left_out(page: Page, query: str) -> None:
    state = call(page, "atlas/link_state.js", "m.readState(new URLSearchParams(given))", query)
    assert (state["view"], state["line"], state["items"], state["find"]) == (None, None, [], "")


def test_entries_of_a_link_come_back(page: Page) -> None:
    body = """(() => {
      const turn = [1, 0, 0, 0, 1, 0, 0, 0, 1], pivot = [2, 3, 4];
      const line = { corners: [[1, 2], [3, -4.5], [5, 6]], frame: [...turn, ...pivot] };
      const entries = { ...m.selectionEntries({ line }), view: m.viewText({ centre: [1, -2], span: 3, turn, pivot }) };
      const hide = m.hiddenText(new Set(["a,b", "ü %", "*none"]));
      const state = m.readState(new URLSearchParams({ ...entries, hide, range: "all", contours: "1", labels: "0" }));
      return [{ ...state, hidden: [...state.hidden] }, { line, view: { centre: [1, -2], span: 3, turn, pivot } }];
    })()"""
    state, given = call(page, "atlas/link_state.js", body)
    assert (state["line"], state["view"]) == (given["line"], given["view"])
    assert state["hidden"] == ["a,b", "ü %", "*none"]
    assert (state["isAll"], state["contours"], state["labels"]) == (True, True, False)


def test_a_line_on_a_rotated_map_selects_the_points_that_it_surrounds(page: Page) -> None:
    points = np.random.default_rng(7).normal(size=(300, 3)).astype(np.float32)
    rectangle = [[380, 270], [560, 270], [560, 420], [380, 420]]
    body = """(async () => {
      const { Camera } = await import('/web/js/plot/camera.js');
      const camera = Object.assign(new Camera(), { width: 900, height: 700 });
      camera.rotate(70, 40);
      camera.fit({ min: [-3, -3, -3], max: [3, 3, 3] });
      const c = new Float32Array(given.points);
      const pixels = Array.from({ length: 300 }, (_, i) => camera.toScreen(c[3 * i], c[3 * i + 1], c[3 * i + 2]));
      const line = m.lineOf(camera, given.rectangle);
      const text = new URLSearchParams((await import('/web/js/atlas/link_state.js')).selectionEntries({ line }));
      const again = (await import('/web/js/atlas/link_state.js')).readState(text).line;
      const [own, back] = [line, again].map((one) => m.insideLine(one, c, (i) => i % 5 !== 0));
      return [pixels, own, back];
    })()"""
    given = {"points": points.ravel().tolist(), "rectangle": rectangle}
    pixels, own, back = call(page, "plot/screen_index.js", f"await {body}", given)
    x, y = np.array(pixels).T
    inside = (x > 380) & (x < 560) & (y > 270) & (y < 420) & (np.arange(300) % 5 != 0)
    assert 10 < inside.sum() < 200
    assert own == back == np.flatnonzero(inside).tolist()
