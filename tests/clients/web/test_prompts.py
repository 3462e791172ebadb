"""Prompts: where they come from, what they are near to, and beside each other."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from playwright.sync_api import expect
from safetensors.numpy import load

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import World


def test_the_list_leads_to_each(open_page: OpenPage, world: World) -> None:
    page = open_page("prompts")
    expect(page.get_by_role("table").locator("tbody tr")).to_have_count(4)
    page.get_by_label("Find a prompt").fill("vocabulary-1")
    expect(page.get_by_role("table").locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="qa-vocabulary-1").click()
    expect(page.get_by_role("heading", name="qa-vocabulary-1@1")).to_be_visible()


def test_a_version_has_its_lineage_measures_and_nearest_tokens(open_page: OpenPage, world: World) -> None:
    page = open_page("prompts/qa-vocabulary-0/1")
    manifest = world.get("/v1/prompts/qa-vocabulary-0/versions/1")
    expect(page.get_by_role("link", name=world.tune)).to_be_visible()
    row = page.get_by_role("table", name="Measures").get_by_role("row").filter(has_text="test/f1")
    expect(row).to_contain_text(f"{manifest['metrics']['test/f1']:.4g}")
    near = world.get("/v1/prompts/qa-vocabulary-0/versions/1/nearest")
    rows = page.get_by_role("table", name="Vectors").locator("tbody tr")
    expect(rows).to_have_count(4)
    for i, vector in enumerate(near["vectors"]):
        token = rows.nth(i).locator(".token").first
        expect(token).to_have_text(vector["nearest"][0]["text"].replace(" ", "·"))
    expect(page.locator(".measures")).to_contain_text(f"{near['measures']['soft']['effective_rank']:.3g}")


def test_nearest_tokens_are_those_of_the_embedding_matrix(world: World) -> None:
    """The whole way through the engine, against plain arithmetic on the model's own weights."""
    ids = [list(range(256 * k, 256 * (k + 1))) for k in range(4)]
    body = {"model": "demo", "inputs": ids, "sites": ["embed"]}
    tokens = load(world.http.post("/v1/activations", json=body).content)["embed"].astype(np.float64)
    content = world.http.get("/v1/prompts/qa-isotropic-0/versions/1/content").content
    distances = np.linalg.norm(load(content)["soft"].astype(np.float64)[:, None] - tokens, axis=2)
    found = world.get("/v1/prompts/qa-isotropic-0/versions/1/nearest", k=3)
    for own, vector in zip(distances, found["vectors"], strict=True):
        assert [token["id"] for token in vector["nearest"]] == np.argsort(own)[:3].tolist()
        np.testing.assert_allclose([token["distance"] for token in vector["nearest"]], np.sort(own)[:3], rtol=1e-5)


def test_both_formats_are_saved(open_page: OpenPage, world: World) -> None:
    page = open_page("prompts/qa-isotropic-0/1")
    with page.expect_download() as native:
        page.get_by_role("button", name="Save native").click()
    assert native.value.suggested_filename == "qa-isotropic-0-1.safetensors"
    assert load(native.value.path().read_bytes())["soft"].shape == (4, 128)
    with page.expect_download() as peft:
        page.get_by_role("button", name="Save as PEFT").click()
    with zipfile.ZipFile(io.BytesIO(peft.value.path().read_bytes())) as archive:
        assert "adapter_config.json" in archive.namelist()


def test_two_stand_beside_each_other(open_page: OpenPage, world: World) -> None:
    page = open_page("prompts/qa-isotropic-0/1")
    page.get_by_label("Compare with").select_option("qa-vocabulary-0@1")
    page.get_by_role("button", name="Compare").click()
    table = page.get_by_role("table", name="What they are")
    expect(table.get_by_role("row").filter(has_text="Prior")).to_contain_text("isotropic, std 0.02vocabulary")
    near = [world.get(f"/v1/prompts/{name}/versions/1/nearest") for name in ("qa-isotropic-0", "qa-vocabulary-0")]
    row = page.get_by_role("table", name="Measures").get_by_role("row").filter(has_text="effective rank")
    for one in near:
        expect(row).to_contain_text(f"{one['measures']['soft']['effective_rank']:.4g}")
    page.get_by_role("link", name="Try both").click()
    expect(page.locator(".chip")).to_have_count(3)
