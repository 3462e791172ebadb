"""Tests of saved figures: PNG, SVG and CSV of maps and curves."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import World

SVG = "{http://www.w3.org/2000/svg}"


def saved(page: Page, name: str) -> tuple[str, bytes]:
    """Name and content of the file that a button saves."""
    with page.expect_download() as download:
        page.get_by_role("button", name=name).first.click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG file, from its header."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_curves_are_saved(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.tune}")
    page.locator(".legend button").first.wait_for()
    box = page.locator(".chart").bounding_box()
    assert box is not None
    name, data = saved(page, "Save the curves as PNG")
    assert name == "curves-loss.png"
    assert png_size(data)[0] == 2 * round(box["width"])
    _, data = saved(page, "Save the curves as SVG")
    root = ElementTree.fromstring(data)
    texts = [node.text for node in root.iter(f"{SVG}text")]
    assert {"qa-isotropic-0", "qa-vocabulary-1", "step"} <= set(texts)
    _, data = saved(page, "Save the curves as CSV")
    points = world.get(f"/v1/runs/{world.tune}/metrics")["data"]
    expected = {(one["member"], one["step"]): one["loss"] for one in points if "loss" in one}
    found = {(row["series"], int(row["step"])): float(row["value"]) for row in rows_of(data)}
    assert {key: value for key, value in found.items() if "validation" not in key[0]} == expected


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_maps_are_saved(open_page: OpenPage, world: World, theme: str) -> None:
    page = open_page(f"atlas/{world.map}?layer=0", theme=theme)
    page.locator(".atlas-legend button").first.wait_for()
    expect(page.locator(".atlas-status")).to_contain_text("points")
    _, data = saved(page, "Save the map as PNG")
    width, height = png_size(data)
    assert width > height > 400
    points = world.get(f"/v1/maps/{world.map}", layer=0)
    _, data = saved(page, "Save the map as CSV")
    rows = rows_of(data)
    assert len(rows) == len(points["x"])
    np.testing.assert_allclose(sorted(float(row["x"]) for row in rows), sorted(points["x"]), rtol=1e-5, atol=1e-6)
    assert {row["source"] for row in rows} == set(points["source"])
    _, data = saved(page, "Save the map as SVG")
    root = ElementTree.fromstring(data)
    legend = [node.text for node in root.iter(f"{SVG}text")]
    assert any("mine <i>own</i>" in (text or "") for text in legend)  # as text, not as markup
    assert len(list(root.iter(f"{SVG}path"))) >= len(rows)
    page.get_by_label("Find points").fill("clock")
    expect(page.get_by_text("points", exact=False).first).to_be_visible()
    page.locator(".picked li").first.wait_for()
    _, data = saved(page, "Save the map as CSV")
    chosen = rows_of(data)
    assert 0 < len(chosen) < len(rows)
    assert all("clock" in (row["token"] + row["text"] + row["prompt"]).lower() for row in chosen)


def test_csv_files_are_read_by_python(open_page: OpenPage) -> None:
    page = open_page("runs")
    table: list[list[Any]] = [["a", "b"], ['quote "x"', "two\nlines"], ["comma, here", 0.1], [None, "é"]]
    text = page.evaluate("""async (rows) => (await import("/web/js/plot/figure.js")).csvText(rows)""", table)
    expected = [["" if cell is None else str(cell) for cell in row] for row in table]
    assert list(csv.reader(io.StringIO(text, newline=""))) == expected


def test_the_evaluation_of_members_is_saved(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/{world.tune}?tab=evaluation")
    name, data = saved(page, "Save as CSV")
    assert name == "evaluation.csv"
    members = world.get(f"/v1/runs/{world.tune}/artifacts/members.json")
    rows = rows_of(data)
    assert [row["prompt"] for row in rows] == [member["prompt"] for member in members]
    for row, member in zip(rows, members, strict=True):
        assert {key: float(row[key]) for key in member["metrics"]} == member["metrics"]
        assert json.loads(row["prior"]) == member["prior"]
