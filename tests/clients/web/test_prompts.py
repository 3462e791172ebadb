"""Tests of the prompts view: list, version and comparison."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import FilePayload, expect
from safetensors.numpy import load

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import World


def test_the_list_is_filtered_and_links_to_versions(open_page: OpenPage, world: World) -> None:
    # Tests of other views may have made prompts.
    n_prompts = len(world.get("/v1/prompts")["data"])
    page = open_page("prompts")
    expect(page.get_by_role("table").locator("tbody tr")).to_have_count(n_prompts)
    page.get_by_label("Filter prompts").fill("vocabulary-1")
    expect(page.get_by_role("table").locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="qa-vocabulary-1").click()
    expect(page.get_by_role("heading", name="qa-vocabulary-1@1")).to_be_visible()


def test_the_list_is_filtered_by_fields(open_page: OpenPage, world: World) -> None:
    page = open_page("prompts?prior=vocabulary&task=demo-qa")
    rows = page.get_by_role("table").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("qa-vocabulary-")
    expect(page.get_by_text("Filters (2)")).to_be_visible()
    manifests = [row["manifest"] for row in world.get("/v1/prompts", manifests=True)["data"]]
    page.get_by_role("button", name="Clear the filters").click()
    expect(rows).to_have_count(len(manifests))
    scores = sorted(manifest["metrics"]["test/exact_match"] for manifest in manifests)
    page.get_by_label("Metric at least").fill(str(scores[-1]))
    expect(rows).to_have_count(scores.count(scores[-1]))
    page.get_by_label("Metric at least").fill("")
    page.get_by_label("Created since").fill("2100-01-01")
    expect(rows).to_have_count(0)
    page.get_by_label("Created since").fill("2020-01-01")
    expect(rows).to_have_count(len(manifests))


def test_a_version_shows_its_run_metrics_and_nearest_tokens(open_page: OpenPage, world: World) -> None:
    page = open_page("prompts/qa-vocabulary-0/1")
    manifest = world.get("/v1/prompts/qa-vocabulary-0/versions/1")
    expect(page.get_by_role("link", name=world.tune)).to_be_visible()
    row = page.get_by_role("table", name="Metrics").get_by_role("row").filter(has_text="test/f1")
    expect(row).to_contain_text(f"{manifest['metrics']['test/f1']:.4g}")
    near = world.get("/v1/prompts/qa-vocabulary-0/versions/1/nearest")
    rows = page.get_by_role("table", name="Vectors").locator("tbody tr")
    expect(rows).to_have_count(4)
    for i, vector in enumerate(near["vectors"]):
        token = rows.nth(i).locator(".token").first
        expect(token).to_have_text(vector["nearest"][0]["text"].replace(" ", "·"))
    expect(page.locator(".measures")).to_contain_text(f"{near['measures']['soft']['effective_rank']:.3g}")


def test_nearest_tokens_match_the_embedding_matrix(world: World) -> None:
    """Compare the route with distances computed here from the model's embeddings."""
    ids = [list(range(256 * k, 256 * (k + 1))) for k in range(4)]
    body = {"model": "demo", "inputs": ids, "sites": ["embed"]}
    tokens = load(world.http.post("/v1/activations", json=body).content)["embed"].astype(np.float64)
    content = world.http.get("/v1/prompts/qa-isotropic-0/versions/1/content").content
    distances = np.linalg.norm(load(content)["soft"].astype(np.float64)[:, None] - tokens, axis=2)
    found = world.get("/v1/prompts/qa-isotropic-0/versions/1/nearest", k=3)
    for own, vector in zip(distances, found["vectors"], strict=True):
        assert [token["id"] for token in vector["nearest"]] == np.argsort(own)[:3].tolist()
        np.testing.assert_allclose([token["distance"] for token in vector["nearest"]], np.sort(own)[:3], rtol=1e-5)


def test_both_formats_are_downloaded(open_page: OpenPage, world: World) -> None:
    page = open_page("prompts/qa-isotropic-0/1")
    with page.expect_download() as native:
        page.get_by_role("button", name="Download", exact=True).click()
    assert native.value.suggested_filename == "qa-isotropic-0-1.safetensors"
    assert load(native.value.path().read_bytes())["soft"].shape == (4, 128)
    with page.expect_download() as peft:
        page.get_by_role("button", name="Download as PEFT").click()
    with zipfile.ZipFile(io.BytesIO(peft.value.path().read_bytes())) as archive:
        assert "adapter_config.json" in archive.namelist()


def test_two_versions_are_compared(open_page: OpenPage, world: World) -> None:
    page = open_page("prompts/qa-isotropic-0/1")
    page.get_by_label("Compare with").select_option("qa-vocabulary-0@1")
    page.get_by_role("button", name="Compare").click()
    table = page.get_by_role("table", name="Properties")
    expect(table.get_by_role("row").filter(has_text="Prior")).to_contain_text("isotropic, std 0.02vocabulary")
    near = [world.get(f"/v1/prompts/{name}/versions/1/nearest") for name in ("qa-isotropic-0", "qa-vocabulary-0")]
    row = page.get_by_role("table", name="Metrics and measures").get_by_role("row").filter(has_text="effective rank")
    for one in near:
        expect(row).to_contain_text(f"{one['measures']['soft']['effective_rank']:.4g}")
    page.get_by_role("link", name="Open in the playground").click()
    expect(page.locator(".chip")).to_have_count(3)


STEERING = "a vector added to the residual stream after each chosen layer"


@pytest.mark.parametrize(
    ("kind", "changes", "shape", "description"),
    [
        ("steering", {"n_virtual": 0, "layers": [3, 5]}, "steering, layers 3, 5, width 128", STEERING),
        ("deep", {"layers": [1], "where": "local"}, "deep, 4 virtual tokens, layer 1 (local), width 128", None),
        ("prefix", {"layers": [0, 1, 2, 3]}, "prefix, 4 virtual tokens, layers 0–3, width 128", None),
        ("kind-of-tomorrow", {"n_virtual": 1}, "kind-of-tomorrow, 1 virtual token, width 128", None),
    ],
)
def test_prompts_of_every_kind_show_name_and_shape(
    open_page: OpenPage, world: World, kind: str, changes: dict[str, Any], shape: str, description: str | None
) -> None:
    """With answers of the server in which a prompt has another kind; the page knows some kinds and must show all."""
    manifest = {**world.get("/v1/prompts/qa-isotropic-0/versions/1"), "kind": kind, **changes}
    rows = world.get("/v1/prompts")["data"]
    row = {**next(one for one in rows if one["name"] == "qa-isotropic-0"), "kind": kind, "manifest": manifest}
    reason = f"A prompt of kind {kind} has no nearest tokens."
    problem = {"title": "Invalid request", "status": 422, "detail": reason, "request_id": "r"}
    page = open_page("reports")
    page.route("**/v1/prompts?*", lambda route: route.fulfill(json=_listed(row)))
    page.route("**/qa-isotropic-0/versions?*", lambda route: route.fulfill(json=_listed(manifest)))
    page.route("**/qa-isotropic-0/versions/1", lambda route: route.fulfill(json=manifest))
    page.route("**/versions/1/nearest?*", lambda route: route.fulfill(status=422, json=problem))
    page.goto(f"{world.url}/#/prompts")
    expect(page.get_by_role("table").locator("tbody tr")).to_contain_text(shape)
    page.get_by_role("link", name="qa-isotropic-0").click()
    expect(page.locator(".view > header")).to_contain_text(shape)
    expect(page.locator(".facts").filter(has_text="Kind")).to_contain_text(description or kind)
    near = page.locator(".card").filter(has=page.get_by_role("heading", name="Nearest tokens"))
    expect(near).to_contain_text("keys and values" if kind == "prefix" else reason)
    expect(page.get_by_role("button", name="Download as PEFT")).to_have_count(1 if kind == "prefix" else 0)
    expect(page.get_by_role("alert")).to_have_count(0)


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": [row], "has_more": False, "next": None}


def test_a_prompt_is_uploaded_given_an_alias_and_deleted(open_page: OpenPage, world: World) -> None:
    content = world.http.get("/v1/prompts/qa-isotropic-0/versions/1/content").content
    page = open_page("prompts")
    page.get_by_role("button", name="Upload a prompt").click()
    dialog = page.get_by_role("dialog", name="Upload a prompt")
    file = FilePayload(name="Mine.safetensors", mimeType="application/octet-stream", buffer=content)
    broken = FilePayload(name="Mine.safetensors", mimeType="application/octet-stream", buffer=b"not tensors")
    dialog.locator("input[type=file]").set_input_files(broken)
    dialog.get_by_role("button", name="Store the prompt").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    dialog.locator("input[type=file]").set_input_files(file)
    expect(dialog.get_by_label("Name")).to_have_value("mine")
    dialog.get_by_role("button", name="Store the prompt").click()
    expect(page.get_by_role("heading", name="mine@1")).to_be_visible()
    page.get_by_label("Alias", exact=True).fill("best")
    page.get_by_role("button", name="Set to this version").click()
    expect(page.get_by_text("mine@best is version 1", exact=True)).to_be_visible()
    assert world.get("/v1/prompts/mine")["version"] == 1
    page.get_by_role("button", name="Delete", exact=True).click()
    confirm = page.get_by_role("dialog", name="Delete mine@1?")
    confirm.get_by_role("button", name="Delete").click()
    expect(page.locator(".notice.bad")).to_contain_text("best")  # the server refuses while it has an alias
    page.get_by_role("button", name="Remove the alias best").click()
    expect(page.get_by_text("This prompt has no alias.")).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).click()
    confirm.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Prompts", exact=True)).to_be_visible()
    assert world.http.get("/v1/prompts/mine").status_code == 404
