"""Tests of the atlas view against the API's answers for the same map."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import TEXT, World

FILLED = 0.86
"""Share of the shorter side that the shown range fills."""
CROPPED = 0.02
"""Share of the points at each end of an axis that the first view may leave outside."""


def ready(page: Page) -> Page:
    """Wait until the points are drawn."""
    expect(page.locator(".atlas-status")).to_contain_text("point")
    return page


def screen_positions(page: Page, points: dict[str, Any], *, cropped: float = CROPPED) -> list[tuple[float, float]]:
    """Expected pixel of each point in the first view, or with ``cropped=0`` when all are shown."""
    box = page.locator(".point-map").bounding_box()
    assert box is not None
    (left, right), (bottom, top) = (np.quantile(points[axis], [cropped, 1 - cropped]) for axis in "xy")
    scale = FILLED * min(box["width"] / (right - left), box["height"] / (top - bottom))
    middle = (left + right) / 2, (bottom + top) / 2
    xs, ys = points["x"], points["y"]
    return [
        ((x - middle[0]) * scale + box["width"] / 2, box["height"] / 2 - (y - middle[1]) * scale)
        for x, y in zip(xs, ys, strict=True)
    ]


def isolated(places: list[tuple[float, float]], points: dict[str, Any], *, role: str) -> int:
    """The point of a role with the largest distance to its nearest other point."""

    def room(i: int) -> float:
        return min((places[i][0] - x) ** 2 + (places[i][1] - y) ** 2 for k, (x, y) in enumerate(places) if k != i)

    return max((i for i, own in enumerate(points["role"]) if own == role), key=room)


def legend_of(page: Page) -> dict[str, int]:
    rows = page.locator(".atlas-legend button").all()
    return {
        row.locator("span").nth(1).inner_text(): int(row.locator("span").nth(2).inner_text().replace(",", ""))
        for row in rows
    }


def test_points_match_the_api_and_have_tooltips(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=0"))
    points = world.get(f"/v1/maps/{world.map}", layer=0)
    assert legend_of(page) == Counter(points["source"])
    expect(page.locator(".atlas-status")).to_contain_text(f"{len(points['x'])} points")
    places = screen_positions(page, points)
    i = isolated(places, points, role="embedding")
    page.locator(".point-map").hover(position={"x": places[i][0], "y": places[i][1]})
    tip = page.locator(".atlas-stage .tip")
    expect(tip).to_contain_text("embedding · layer 0")
    expect(tip.locator(".token")).to_have_text(points["token"][i].replace(" ", "·"))


def test_points_are_drawn_and_hidden(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=0"))
    shot = page.locator(".point-map").screenshot()
    page.get_by_role("group", name="Legend").get_by_role("button", name="vocabulary").click()
    fewer = page.locator(".point-map").screenshot()
    for name in legend_of(page):
        if name != "vocabulary":
            page.get_by_role("group", name="Legend").get_by_role("button", name=name).click()
    none = page.locator(".point-map").screenshot()
    assert len({shot, fewer, none}) == 3
    # An empty picture compresses best.
    assert len(none) < len(fewer) < len(shot)


def test_points_are_coloured_by_the_chosen_column(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=0"))
    points = world.get(f"/v1/maps/{world.map}", layer=0)
    page.get_by_label("Colour by").select_option("role")
    assert legend_of(page) == Counter(points["role"])
    page.get_by_label("Colour by").select_option("prompt")
    known = Counter(points["prompt"])
    assert legend_of(page) == {"none" if name is None else name: n for name, n in known.items()}
    page.get_by_label("Colour by").select_option("token")
    assert len(legend_of(page)) == 13  # the eleven most frequent tokens, the others, and none
    assert "colour=token" in page.url
    page.reload()
    ready(page)
    expect(page.get_by_label("Colour by")).to_have_value("token")


def test_an_unknown_colouring_falls_back_to_sources(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=0&colour=zzz"))
    expect(page.get_by_label("Colour by")).to_have_value("source")
    assert legend_of(page) == Counter(world.get(f"/v1/maps/{world.map}", layer=0)["source"])


def test_the_slider_changes_the_layer(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}"))
    counts = Counter(world.get(f"/v1/maps/{world.map}")["layer"])
    page.get_by_label("Layer", exact=True).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".atlas-status")).to_contain_text(f"layer 3 · {counts[3]} points".replace(" · ", "  ·  "))
    assert "layer=3" in page.url
    page.get_by_label("All layers at once").check()
    expect(page.locator(".atlas-status")).to_contain_text(f"{sum(counts.values())} points")
    page.get_by_label("Colour by").select_option("layer")
    assert legend_of(page) == {f"layer {layer}": n for layer, n in counts.items()}


def test_the_lasso_selects_points(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=3"))
    points = world.get(f"/v1/maps/{world.map}", layer=3)
    box = page.locator(".point-map").bounding_box()
    assert box is not None
    page.locator(".point-map").focus()
    page.keyboard.press("0")
    page.keyboard.press("l")
    corners = [(2, 2), (0.99, 0.005), (0.99, 0.99), (0.005, 0.99)]
    at = [(x if x > 1 else x * box["width"], y if y > 1 else y * box["height"]) for x, y in corners]
    page.mouse.move(box["x"] + at[0][0], box["y"] + at[0][1])
    page.mouse.down()
    for x, y in at[1:]:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=5)
    page.mouse.up()
    expect(page.locator(".panel [role=status]")).to_have_text(f"{len(points['x'])} points")
    listed = page.locator(".picked li")
    assert listed.count() == len(points["x"])
    expect(page.locator(".picked")).to_contain_text(TEXT)
    page.keyboard.press("Escape")
    expect(listed).to_have_count(0)


def test_search_finds_tokens_and_texts(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=0"))
    points = world.get(f"/v1/maps/{world.map}", layer=0)
    expected = sum(
        "clock" in (token if token is not None else text or "").lower()
        for token, text in zip(points["token"], points["text"], strict=True)
    )
    page.get_by_label("Find points").fill("Clock")
    expect(page.locator(".panel [role=status]")).to_have_text(f"{expected} point{'' if expected == 1 else 's'}")


def test_a_trajectory_is_played_and_stepped_through(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=0"))
    points = world.get(f"/v1/maps/{world.map}", layer=0)
    tokens = [t for t, source in zip(points["token"], points["source"], strict=True) if source == "trajectories"]
    page.get_by_label("Trajectory", exact=True).select_option("0")
    shown = page.locator(".trajectory-tokens .token")
    assert [t.replace("·", " ") for t in shown.all_inner_texts()] == tokens
    before = page.locator(".point-map").screenshot()
    page.get_by_label("One step forward").click()
    page.get_by_label("One step forward").click()
    expect(page.locator(".trajectory-tokens .now")).to_have_text(shown.nth(2).inner_text())
    assert page.locator(".point-map").screenshot() != before
    page.get_by_label("Play", exact=True).click()
    expect(page.locator(".trajectory-tokens .now")).not_to_have_text(shown.nth(2).inner_text())
    page.get_by_label("Pause").click()


@pytest.mark.parametrize(("shown_as", "n"), [("text", 1), ("token", None), ("trajectory", None)])
def test_a_text_is_placed_on_the_map(open_page: OpenPage, world: World, shown_as: str, n: int | None) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=3"))
    before = sum(legend_of(page).values())
    page.get_by_label("Text to place").fill("The clock is in the mill.")
    page.get_by_label("Shown as").select_option(shown_as)
    page.get_by_label("With prompt").select_option("qa-isotropic-0@1")
    page.get_by_role("button", name="Place the text").click()
    expect(page.get_by_role("group", name="Legend")).to_contain_text("placed")
    placed = legend_of(page)["placed"]
    assert placed == n if n is not None else placed > 5
    assert sum(legend_of(page).values()) == before + placed
    if shown_as == "trajectory":
        expect(page.locator(".trajectory-tokens .token")).to_have_count(placed)
    page.get_by_role("button", name="Remove placed points").click()
    assert sum(legend_of(page).values()) == before


def test_the_vectors_of_a_prompt_are_placed_with_their_snapshots(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=0&colour=role"))
    before = legend_of(page)
    page.get_by_label("Vectors of a tuned prompt").select_option("qa-vocabulary-1@1")
    page.get_by_role("button", name="Place the vectors").click()
    page.get_by_role("button", name="Remove placed points").wait_for()
    after = legend_of(page)
    assert {name: after[name] - before[name] for name in after} == {
        "embedding": 0,
        "state": 0,
        "snapshot": 4 * 3,
        "draw": 4,
        "posterior": 4,
    }


def test_names_and_texts_are_not_interpreted_as_markup(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}?layer=0"))
    assert "mine <i>own</i>" in legend_of(page)
    assert page.locator(".atlas i, .atlas b, .atlas-legend i").count() == 0


def test_the_dialog_starts_a_map_run(open_page: OpenPage, world: World) -> None:
    page = ready(open_page(f"atlas/{world.map}"))
    page.get_by_role("button", name="New map").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("from the page")
    dialog.get_by_label("demo-cloze").check()
    dialog.get_by_label("Layers").fill("17")
    dialog.get_by_role("button", name="Create map").click()
    expect(dialog.get_by_role("alert")).to_contain_text("17")
    dialog.get_by_label("Layers").fill("1")
    dialog.get_by_label("Texts per dataset").fill("5")
    with page.expect_response("**/v1/runs") as answer:
        dialog.get_by_role("button", name="Create map").click()
    run = answer.value.json()
    assert run["spec"]["layers"] == [1]
    assert [source["dataset"] for source in run["spec"]["sources"]] == ["demo-cloze"]
    expect(page.get_by_role("heading", name="from the page")).to_be_visible()
    world.http.post(f"/v1/runs/{run['id']}/cancel")


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" the", "·the"),
        ("", "∅"),
        ("\n\t", "⏎⇥"),
        ("\x00a\x7f", "\\x00a\\x7f"),
        ("\x85", "\\x85"),
        ("\xa0", "\\xa0"),
        ("\u200bb\u202e", "\\u{200b}b\\u{202e}"),
        ("\u2028", "\\u{2028}"),
        ("\u0301", "◌\u0301"),
        ("e\u0301", "e\u0301"),
        (" \U0001f642", "·\U0001f642"),
        ("\ufffd", "\ufffd"),
        ("\U000e0001", "\\u{e0001}"),
        ("<b>", "<b>"),
    ],
)
def test_tokens_of_a_byte_level_vocabulary_are_visible(open_page: OpenPage, token: str, shown: str) -> None:
    page = open_page("runs")
    assert page.evaluate("async (token) => (await import('/web/js/dom/format.js')).visible(token)", token) == shown
