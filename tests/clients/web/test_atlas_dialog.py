"""Tests of the dialog for a new map: settings, sources, and refusals at their fields."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.test_atlas import ready
from tests.clients.web.world import World


@pytest.fixture
def page(open_page: OpenPage, world: World) -> Page:
    return ready(open_page(f"atlas/{world.map}"))


def dialog_of(page: Page) -> Locator:
    page.get_by_role("button", name="New map").click()
    return page.get_by_role("dialog")


def created(page: Page, world: World) -> dict[str, Any]:
    """The spec of the run that the dialog starts, which is cancelled."""
    with page.expect_response("**/v1/runs") as answer:
        page.get_by_role("dialog").get_by_role("button", name="Create map").click()
    assert answer.value.status == 202, answer.value.text()
    run = answer.value.json()
    world.http.post(f"/v1/runs/{run['id']}/cancel")
    spec: dict[str, Any] = run["spec"]
    return spec


def fault_of(field: Locator) -> Locator:
    """The message at a field."""
    expect(field).to_have_attribute("aria-invalid", "true")
    ids = (field.get_attribute("aria-describedby") or "").split()
    return field.page.locator(f"#{next(one for one in ids if one.endswith('fault'))}")


def test_settings_of_umap_and_trajectories_are_in_the_spec(page: Page, world: World) -> None:
    dialog = dialog_of(page)
    dialog.get_by_label("Method", exact=True).select_option("umap")
    dialog.get_by_text("Settings of the method").click()
    for label, value in (("n neighbors", "7"), ("min dist", "0.25"), ("n pca", "20"), ("seed", "3")):
        dialog.get_by_label(label, exact=True).first.fill(value)
    dialog.get_by_label("metric", exact=True).select_option("cosine")
    dialog.get_by_label("n components", exact=True).select_option("3")
    dialog.get_by_label("Layers", exact=True).fill("3")
    dialog.get_by_text("Trajectories: generations").click()
    dialog.get_by_label("dataset", exact=True).select_option("demo-qa")
    dialog.get_by_label("max tokens", exact=True).fill("5")
    dialog.get_by_label("prompt ref", exact=True).select_option("qa-isotropic-0@1")
    spec = created(page, world)
    settings = {
        name: spec[name] for name in ("method", "n_neighbors", "min_dist", "n_pca", "seed", "metric", "n_components")
    }
    assert settings == {
        "method": "umap",
        "n_neighbors": 7,
        "min_dist": 0.25,
        "n_pca": 20,
        "seed": 3,
        "metric": "cosine",
        "n_components": 3,
    }
    (source,) = spec["sources"]
    assert (source["trajectories"]["dataset"], source["trajectories"]["max_tokens"]) == ("demo-qa", 5)
    assert source["trajectories"]["prompt_ref"].startswith(("qa-isotropic-0@1", "sha256:"))


def test_each_method_has_its_own_settings(page: Page, world: World) -> None:
    dialog = dialog_of(page)
    dialog.get_by_text("Settings of the method").click()
    expect(dialog.get_by_label("perplexity", exact=True)).to_have_count(0)
    dialog.get_by_label("Method", exact=True).select_option("tsne")
    expect(dialog.get_by_label("n neighbors", exact=True)).to_have_count(0)
    expect(dialog.get_by_label("n components", exact=True)).to_have_count(0)
    dialog.get_by_label("perplexity", exact=True).fill("5")
    dialog.get_by_label("demo-cloze").check()
    dialog.get_by_label("Texts per dataset").fill("20")
    dialog.get_by_label("Layers", exact=True).fill("2")
    spec = created(page, world)
    assert (spec["method"], spec["perplexity"], spec["layers"]) == ("tsne", 5, [2])


def test_refusals_are_at_their_fields(page: Page) -> None:
    dialog = dialog_of(page)
    dialog.get_by_label("Method", exact=True).select_option("umap")
    dialog.get_by_text("Settings of the method").click()
    dialog.get_by_label("n neighbors", exact=True).fill("1")
    dialog.get_by_text("Settings of the method").click()  # folded: a refusal unfolds it
    dialog.get_by_label("demo-cloze").check()
    dialog.get_by_label("Texts per dataset").fill("many")
    dialog.get_by_text("Trajectories: generations").click()
    dialog.get_by_label("dataset", exact=True).select_option("demo-qa")
    dialog.get_by_label("max tokens", exact=True).fill("99999")
    dialog.get_by_role("button", name="Create map").click()
    expect(fault_of(dialog.get_by_label("Texts per dataset"))).to_contain_text("integer")
    expect(fault_of(dialog.get_by_label("n neighbors", exact=True))).to_contain_text("greater than or equal to 2")
    expect(fault_of(dialog.get_by_label("max tokens", exact=True))).to_contain_text("4096")
    dialog.get_by_label("Texts per dataset").fill("5")
    dialog.get_by_label("n neighbors", exact=True).fill("")
    dialog.get_by_label("max tokens", exact=True).fill("5")
    dialog.get_by_label("Layers", exact=True).fill("17")
    dialog.get_by_role("button", name="Create map").click()
    expect(fault_of(dialog.get_by_label("Layers", exact=True))).to_contain_text("17")
    expect(dialog.get_by_label("Texts per dataset")).not_to_have_attribute("aria-invalid", "true")


def test_without_points_the_refusal_is_at_the_sources(page: Page) -> None:
    dialog = dialog_of(page)
    dialog.get_by_label("Layers", exact=True).fill("2")
    dialog.get_by_role("button", name="Create map").click()
    group = dialog.get_by_role("group", name="Datasets")
    expect(fault_of(group)).to_contain_text("at least 1")


def test_buttons_are_reachable_in_a_low_window(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 700})
    page.get_by_role("button", name="Place a text").click()
    expect(page.get_by_label("Text to place")).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Place the text")).to_be_in_viewport(ratio=1)
    dialog = dialog_of(page)
    dialog.get_by_text("Settings of the method").click()
    dialog.get_by_text("Trajectories: generations").click()
    for name in ("Create map", "Cancel"):
        expect(dialog.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)
