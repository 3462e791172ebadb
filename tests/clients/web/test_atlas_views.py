"""Tests of the atlas' first view, panels, neighbours, contours and links against the API's answers."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.test_atlas import legend_of, ready, screen_positions
from tests.clients.web.world import World


def query_of(page: Page) -> dict[str, str]:
    """The entries of the link."""
    _, _, query = page.url.partition("?")
    return {name: values[0] for name, values in parse_qs(query).items()}


def expect_link(page: Page, name: str) -> None:
    """Wait until the link has an entry."""
    expect(page).to_have_url(re.compile(rf"[?&]{name}="))


def outside(page: Page, points: dict[str, Any], *, cropped: float = 0.02) -> dict[str, int]:
    """Expected numbers of points outside the view, by side."""
    box = page.locator(".point-map").bounding_box()
    assert box is not None
    found: Counter[str] = Counter()
    for x, y in screen_positions(page, points, cropped=cropped):
        side = "left" if x < 0 else "right" if x > box["width"] else "above" if y < 0 else "below"
        if not (0 <= x <= box["width"] and 0 <= y <= box["height"]):
            found[side] += 1
    return dict(found)


def outside_frame(points: dict[str, Any], layer: int) -> int:
    """Expected number of points of a layer outside the frame of its panel, which the 2–98 % range fills to 92 %."""
    own = np.array([points[axis] for axis in "xy"])[:, np.array(points["layer"]) == layer]
    low, high = np.quantile(own, 0.02, axis=1), np.quantile(own, 0.98, axis=1)
    placed = (own - ((low + high) / 2)[:, None]) * 0.92 / (high - low).max()
    return int((np.abs(placed) > 0.5).any(axis=0).sum())


def marks_of(page: Page) -> dict[str, int]:
    """The visible marks at the edges: number of points by side."""
    marks = page.locator(".edge-marks > .edge-mark:visible").all()
    words = {"to the left": "left", "to the right": "right", "above": "above", "below": "below"}
    names = [mark.get_attribute("aria-label") or "" for mark in marks]
    return {side: int(name.split()[0]) for name in names for word, side in words.items() if word in name}


MakeMap = Callable[..., str]


@pytest.fixture
def make_map(world: World) -> Iterator[MakeMap]:
    """Make a map with these fields of its spec; it is deleted after the test, because other tests open the newest map."""
    made: list[str] = []

    def make(**spec: Any) -> str:
        made.append(world.finish("map", {"model": "demo", "sample": 50, **spec}, name="a map of a test"))
        return made[-1]

    yield make
    for run_id in made:
        world.http.delete(f"/v1/maps/{run_id}")
        world.http.delete(f"/v1/runs/{run_id}")


def with_outliers(make_map: MakeMap) -> str:
    """A map whose points are mostly close together, with some far away."""
    texts = ["The clock is in the mill."] * 4 + ["Where is Mira?", "80 - 7 =", "Listen to what I heard yesterday."]
    sources = [{"dataset": "demo-qa", "n": 100, "name": "questions"}, {"texts": texts, "name": "few", "per": "token"}]
    return make_map(layers=[3], sources=sources)


def test_the_first_view_shows_most_points_and_marks_the_others(
    open_page: OpenPage, world: World, make_map: MakeMap
) -> None:
    map_id = with_outliers(make_map)
    page = ready(open_page(f"atlas/{map_id}"))
    points = world.get(f"/v1/maps/{map_id}")
    expected = outside(page, points)
    assert expected  # otherwise this map tests nothing
    side, n = next(iter(expected.items()))
    mark = page.get_by_role("button", name=re.compile(f"^{n} points? .*(left|right|above|below).*: show all$")).first
    expect(mark).to_be_visible()
    assert marks_of(page) == expected
    places = screen_positions(page, points)
    size = page.locator(".point-map").bounding_box()
    assert size is not None
    inner = [
        (x, y) for x, y in places if 0.2 * size["width"] < x < 0.8 * size["width"] and 120 < y < 0.8 * size["height"]
    ]
    x, y = max(inner, key=lambda own: min(np.hypot(own[0] - a, own[1] - b) for a, b in places if (a, b) != own))
    page.locator(".point-map").hover(position={"x": x, "y": y})
    expect(page.locator(".atlas-stage .tip")).to_contain_text("state · ")
    mark.click()
    expect(page.locator(".edge-mark:visible")).to_have_count(0)
    expect_link(page, "range")
    page.locator(".point-map").focus()
    page.keyboard.press("1")
    expect(page.locator(f".edge-mark.{side}")).to_be_visible()
    assert marks_of(page) == expected


def test_groups_have_labels_that_follow_the_legend(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=0"))
    labels = page.locator(".map-label")
    expect(labels.first).to_be_visible()
    assert set(labels.all_inner_texts()) <= set(legend_of(page))
    assert "vocabulary" in labels.all_inner_texts()
    points = world.get(f"/v1/maps/{world.map}", layer=0)
    places = np.array(screen_positions(page, points))
    own = places[np.array(points["source"]) == "vocabulary"]
    label = page.locator(".map-label", has_text="vocabulary").bounding_box()
    stage = page.locator(".point-map").bounding_box()
    assert label is not None
    assert stage is not None
    at = label["x"] + label["width"] / 2 - stage["x"], label["y"] + label["height"] / 2 - stage["y"]
    assert np.abs(own - at).sum(1).min() < 60  # at a point of its group, or a few lines above or below it
    page.get_by_role("group", name="Legend").get_by_role("button", name="vocabulary").click()
    expect(page.locator(".map-label", has_text="vocabulary")).to_have_count(0)
    page.get_by_label("Label the groups").uncheck()
    expect(labels).to_have_count(0)
    assert query_of(page)["labels"] == "0"


def test_each_layer_has_a_panel(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=all"))
    points = world.get(f"/v1/maps/{world.map}")
    titles = page.get_by_role("group", name="Panels").get_by_role("button", name=re.compile("^Show layer"))
    counts = Counter(points["layer"])
    names = [title.get_attribute("aria-label") for title in titles.all()]
    assert names == [f"Show layer {layer} alone, {n} points" for layer, n in counts.items()]
    on_frame = {layer: n for layer in counts if (n := outside_frame(points, layer))}
    assert on_frame  # otherwise this map tests no marks
    marks = page.get_by_role("button", name=re.compile("on the frame: show all$"))
    expect(marks).to_have_count(len(on_frame))
    for mark, (layer, n) in zip(marks.all(), on_frame.items(), strict=True):
        text = f"{n} point{'' if n == 1 else 's'} of layer {layer} on the frame: show all"
        assert mark.get_attribute("aria-label") == text
    # All points lie inside the frame of their layer: there is nothing outside the view.
    assert marks_of(page) == {}
    marks.first.click()
    expect(marks).to_have_count(0)
    expect_link(page, "range")
    titles.nth(1).click()
    expect(page.locator(".atlas-status")).to_contain_text("layer 3")
    expect(page.get_by_label("All layers at once")).not_to_be_checked()


def test_a_point_that_is_picked_in_a_panel_is_raised_in_all(open_page: OpenPage, world: World) -> None:
    points = world.get(f"/v1/maps/{world.map}")
    i = next(k for k, role in enumerate(points["role"]) if role == "state" and points["source"][k] == "demo-qa")
    text = points["text"][i]
    same = [k for k, other in enumerate(points["text"]) if other == text and points["source"][k] == "demo-qa"]
    page = ready(open_page(f"atlas/{world.map}?layer=all&points={i}"))
    expect(page.locator(".panel [role=status]")).to_have_text(f"1 point · {len(same)} in all panels")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the map as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert sorted(int(row["layer"]) for row in rows) == sorted(points["layer"][k] for k in same)
    for row in rows:
        k = next(k for k in same if points["layer"][k] == int(row["layer"]))
        # Coordinates are those of the map, not of the panels.
        assert (float(row["x"]), float(row["y"])) == pytest.approx((points["x"][k], points["y"][k]), rel=1e-6)
        assert (row["role"], row["text"], row["source"]) == ("state", text, "demo-qa")


def test_layers_have_sequential_colours_and_the_legend_says_so(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=all&colour=layer"))
    swatches = page.locator(".atlas-legend .swatch")
    colours = [one.evaluate("(e) => getComputedStyle(e).backgroundColor") for one in swatches.all()]
    ramp = page.evaluate("async () => (await import('/web/js/plot/palette.js')).rampColours()")
    ends = [tuple(int(ramp[k][j : j + 2], 16) for j in (1, 3, 5)) for k in (0, -1)]
    assert [tuple(map(int, re.findall(r"\d+", colour)))[:3] for colour in colours] == ends
    expect(page.get_by_text("Only layer")).to_have_count(0)
    page.get_by_role("button", name=re.compile("^Show layer 3 alone")).click()
    expect(page.get_by_text("Only layer 3 is shown")).to_be_visible()
    assert swatches.evaluate("(e) => getComputedStyle(e).backgroundColor") == colours[1]


def test_the_first_layer_is_the_one_whose_tasks_separate_best(
    open_page: OpenPage, world: World, make_map: MakeMap
) -> None:
    sources = [{"dataset": name, "n": 15} for name in ("demo-qa", "demo-cloze", "demo-arithmetic")]
    map_id = make_map(layers=[0, 2, 5], sources=sources)
    facts = world.get(f"/v1/maps/{map_id}")
    best = max(facts["quality"], key=lambda one: one["task_silhouette"])["layer"]
    assert facts["default_layer"] == best
    page = ready(open_page(f"atlas/{map_id}"))
    expect(page.locator(".atlas-status")).to_contain_text(f"layer {best}")
    assert query_of(page)["layer"] == str(best)
    page.get_by_text("About this map").click()
    expect(page.locator(".panel .facts")).to_contain_text("silhouette of the tasks")


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_card_of_a_point_has_its_neighbours_in_the_original_space(
    open_page: OpenPage, world: World, metric: str
) -> None:
    points = world.get(f"/v1/maps/{world.map}", layer=3)
    i = points["source"].index("demo-qa")
    page = ready(open_page(f"atlas/{world.map}?layer=3&points={i}"))
    page.get_by_label("Distance of neighbours").select_option(metric)
    expected = world.get(f"/v1/maps/{world.map}/neighbors", layer=3, point=i, k=10, metric=metric)
    rows = page.get_by_role("list", name="Nearest in the original space").get_by_role("button")
    expect(rows).to_have_count(10)
    shown = [row.locator("span").first.inner_text().strip() for row in rows.all()]
    assert [float(text.replace("−", "-")) for text in shown] == pytest.approx(expected["distance"], rel=0.01)
    for row, text, token in zip(rows.all(), expected["text"], expected["token"], strict=True):
        if text is not None and token is None:
            assert text[:40] in row.inner_text()
    rows.nth(0).click()
    expect(page).to_have_url(re.compile(rf"[?&]points={expected['index'][0]}(&|$)"))


def test_a_point_in_a_panel_has_the_neighbours_of_its_layer(open_page: OpenPage, world: World) -> None:
    whole, layer = world.get(f"/v1/maps/{world.map}"), world.get(f"/v1/maps/{world.map}", layer=3)
    i = next(k for k, own in enumerate(whole["layer"]) if own == 3 and whole["source"][k] == "demo-qa")
    own = layer["source"].index("demo-qa")
    page = ready(open_page(f"atlas/{world.map}?layer=all&points={i}"))
    expected = world.get(f"/v1/maps/{world.map}/neighbors", layer=3, point=own, k=10)
    rows = page.get_by_role("list", name="Nearest in the original space").get_by_role("button")
    expect(rows).to_have_count(10)
    rows.nth(0).click()
    first = whole["layer"].index(3)
    expect(page).to_have_url(re.compile(rf"[?&]points={first + expected['index'][0]}(&|$)"))


def test_placed_points_and_maps_without_vectors_have_no_neighbours(open_page: OpenPage, make_map: MakeMap) -> None:
    map_id = make_map(layers=[3], sources=[{"dataset": "demo-qa", "n": 12}], keep_vectors=False)
    page = ready(open_page(f"atlas/{map_id}?points=3"))
    expect(page.locator(".panel")).to_have_count(5)
    expect(page.get_by_text("has no vectors of layer 3")).to_be_visible()
    page.get_by_role("button", name="Place a text").click()
    expect(page.get_by_label("Text to place")).to_be_focused()
    page.keyboard.type("The clock is in the mill.")
    page.get_by_role("button", name="Place the text").click()
    page.get_by_role("button", name="Remove placed points").wait_for()
    page.get_by_label("Find points").fill("The clock is in the mill.")
    expect(page.locator(".panel [role=status]")).to_have_text("1 point")
    expect(page.get_by_text("A placed point is not stored")).to_be_visible()


def test_contours_are_drawn_on_the_map_and_in_its_figure(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=0&labels=0"))

    def svg() -> str:
        with page.expect_download() as download:
            page.get_by_role("button", name="Save the map as SVG").click()
        return Path(download.value.path()).read_text()

    plain, before = svg(), page.locator(".point-map").screenshot()
    page.get_by_label("Density contours").check()
    assert query_of(page)["contours"] == "1"
    after, shot = svg(), page.locator(".point-map").screenshot()
    assert shot != before
    # Two contours for each group of at least ten points.
    large = sum(n >= 10 for n in legend_of(page).values())
    assert after.count("<path") - plain.count("<path") == 2 * large
    page.get_by_label("Density contours").uncheck()
    assert svg() == plain
