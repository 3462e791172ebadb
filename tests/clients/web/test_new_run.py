"""Tests of the form of a new run: fields from the schema, dry run, refusals at their field, code to copy, and clones."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any
from unittest.mock import patch

import httpx
import yaml
from playwright.sync_api import Locator, Page, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.test_accessibility import COLLECT, MIN_CONTRAST, contrast
from tests.clients.web.test_manners import unnamed
from tests.clients.web.world import KEY, World, tune_spec


def spec_of(page: Page) -> Any:
    return json.loads(page.get_by_label("Spec as JSON").input_value())


def field_of(page: Page, name: str) -> Locator:
    return page.locator(f"[data-field='{name}']").first


def check_of(page: Page) -> Locator:
    return page.locator(".card").filter(has=page.get_by_role("heading", name="Check")).get_by_role("status")


def test_kinds_and_fields_come_from_the_schema(open_page: OpenPage, world: World) -> None:
    document = world.get("/openapi.json")
    body = document["paths"]["/v1/runs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    page = open_page("runs/new")
    for kind in body["oneOf"]:
        name = kind["properties"]["kind"]["const"]
        page.get_by_label("Kind of run").select_option(name)
        expect(page).to_have_url(f"{world.url}/#/runs/new/{name}")
        schema = document["components"]["schemas"][kind["properties"]["spec"]["$ref"].split("/")[-1]]
        for field in (name for name, one in schema["properties"].items() if "const" not in one):
            expect(field_of(page, field)).to_be_attached()
        assert unnamed(page) == []


def test_a_run_is_described_checked_and_started(open_page: OpenPage, world: World) -> None:
    page = open_page("runs/new/tune?dataset=demo-qa")
    expect(check_of(page)).to_contain_text("The server accepts this spec")
    assert spec_of(page) == {
        "model": "demo",
        "dataset": "demo-qa",
        "priors": [{"kind": "isotropic"}, {"kind": "vocabulary"}],
    }
    page.get_by_role("button", name=re.compile("^gaussian")).click()
    last = page.locator(".spec-list > li").last
    last.get_by_label("fit").select_option(label="token embeddings as they occur in demo-qa")
    last.get_by_label("scale").fill("0.5")
    page.get_by_role("button", name="Remove isotropic").click()
    page.get_by_label("seeds", exact=True).fill("0, 3")
    page.get_by_text("optimizer", exact=True).click()
    page.get_by_label("steps", exact=True).fill("5")
    page.get_by_label("lr", exact=True).fill("0.01, 0.02")
    page.get_by_text("eval", exact=True).click()
    # The first n is that of eval, the second one that of its sampling.
    page.get_by_label("n", exact=True).first.fill("2")
    page.get_by_label("Name of the run").fill("from the form")
    spec = {
        "model": "demo",
        "dataset": "demo-qa",
        "priors": [
            {"kind": "vocabulary"},
            {"kind": "gaussian", "fit": {"embeddings": {"dataset": "demo-qa"}}, "scale": 0.5},
        ],
        "seeds": [0, 3],
        "optimizer": {"lr": [0.01, 0.02], "steps": 5},
        "eval": {"n": 2},
    }
    assert spec_of(page) == spec
    planned = world.http.post("/v1/runs", params={"dry_run": True}, json={"kind": "tune", "spec": spec}).json()
    check = check_of(page)
    expect(check).to_contain_text(f"at least {planned['memory_bytes'] / 2**20:.1f} MiB")
    expect(check.get_by_role("link", name="an earlier run")).to_have_attribute("href", f"#/runs/{world.tune}")
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_role("heading", name="from the form")).to_be_visible()
    run = world.get(f"/v1/runs/{page.url.split('/')[-1].split('?')[0]}")
    world.http.post(f"/v1/runs/{run['id']}/cancel")
    assert run["spec"] == planned["spec"]


def test_refusals_are_shown_at_their_field(open_page: OpenPage, world: World) -> None:
    page = open_page("runs/new/tune")
    expect(check_of(page)).to_contain_text("The server accepts this spec")
    page.get_by_text("optimizer", exact=True).click()
    steps = page.get_by_label("steps", exact=True)
    steps.fill("0")
    expect(steps).to_have_attribute("aria-invalid", "true")
    answer = world.http.post(
        "/v1/runs", params={"dry_run": True}, json={"kind": "tune", "spec": {**spec_of(page)}}
    ).json()
    (fault,) = answer["errors"]
    expect(field_of(page, "steps")).to_contain_text(fault["msg"])
    expect(check_of(page)).to_contain_text("optimizer.steps")
    for item in page.evaluate(COLLECT):
        assert contrast(item) >= MIN_CONTRAST, item
    steps.fill("10")
    expect(check_of(page)).to_contain_text("The server accepts this spec")
    expect(steps).not_to_have_attribute("aria-invalid", "true")
    field_of(page, "method").get_by_role("combobox").first.select_option("deep")
    page.get_by_label("layers", exact=True).fill("99")
    expect(field_of(page, "layers")).to_contain_text("99")
    expect(page.get_by_label("layers", exact=True)).to_have_attribute("aria-invalid", "true")
    runs = world.get("/v1/runs", limit=100)["data"]
    page.get_by_role("button", name="Start the run").click()  # the server refuses it again
    expect(check_of(page)).to_contain_text("Invalid request")
    assert len(world.get("/v1/runs", limit=100)["data"]) == len(runs)


def test_the_json_and_the_fields_show_the_same_spec(open_page: OpenPage) -> None:
    page = open_page("runs/new/tune")
    text = page.get_by_label("Spec as JSON")
    expect(check_of(page)).to_contain_text("The server accepts this spec")
    spec = {**tune_spec(), "keep": "last", "priors": [{"kind": "knn", "fit": {"embeddings": "vocabulary"}, "k": 7}]}
    text.fill(json.dumps(spec))
    expect(check_of(page)).to_contain_text("The server accepts this spec")
    neighbours = page.locator(".spec-list").get_by_label("k", exact=True)
    expect(neighbours).to_have_value("7")
    expect(field_of(page, "keep").get_by_role("combobox")).to_have_value("last")
    page.get_by_label("Name of the run").fill("x")
    neighbours.fill("8")
    assert spec_of(page) == {**spec, "priors": [{**spec["priors"][0], "k": 8}]}
    text.fill('{"model": ')
    expect(check_of(page)).to_contain_text("The spec is not a JSON object")
    expect(page.get_by_role("button", name="Start the run")).to_be_disabled()
    text.fill('{"model": "demo", "dataset": "demo-qa", "priors": [{"kind": "xavier"}], "sides": 6}')
    expect(check_of(page)).to_contain_text("sides")
    expect(check_of(page)).to_contain_text("Invalid request")


def test_the_run_as_code_starts_that_run(open_page: OpenPage, world: World) -> None:
    page = open_page(f"runs/new/tune?from={world.tune}")
    expect(check_of(page)).to_contain_text("The server accepts this spec")
    original = world.get(f"/v1/runs/{world.tune}")
    codes = {}
    for name in ("curl", "Python", "YAML"):
        page.get_by_role("tab", name=name).click()
        codes[name] = page.get_by_label(f"{name} code").inner_text()
        expect(page.get_by_role("button", name=f"Copy as {name}")).to_be_visible()
        assert KEY not in codes[name]
    assert yaml.safe_load(codes["YAML"]) == original["spec"]
    options = shlex.split(codes["curl"].replace("\\\n", ""))
    body = options[options.index("-d") + 1]
    curl = httpx.post(
        f"{world.url}/v1/runs", headers={"X-API-Key": KEY, "Content-Type": "application/json"}, content=body
    )
    printed: list[str] = []
    with patch.dict("os.environ", {"PROMPTATLAS_API_KEY": KEY}):
        exec(compile(codes["Python"], "copied", "exec"), {"print": printed.append})
    for run_id in (curl.json()["id"], printed[0]):
        run = world.get(f"/v1/runs/{run_id}")
        world.http.post(f"/v1/runs/{run_id}/cancel")
        assert (run["kind"], run["spec"], run["name"]) == ("tune", original["spec"], f"{original['name']} (copy)")


def test_every_kind_of_run_can_be_cloned(open_page: OpenPage, world: World) -> None:
    page = open_page("runs")
    for run_id in (world.tune, world.map, world.report):
        page.goto(f"{world.url}/#/runs/{run_id}")
        page.get_by_role("link", name="Clone").click()
        run = world.get(f"/v1/runs/{run_id}")
        expect(check_of(page)).to_contain_text("The server accepts this spec")
        assert spec_of(page) == run["spec"]
        expect(page.get_by_label("Name of the run")).to_have_value(f"{run['name']} (copy)")


def test_an_ended_run_is_deleted_after_a_question(open_page: OpenPage, world: World) -> None:
    run_id = world.start("tune", tune_spec(name="short", optimizer={"lr": 0.01, "steps": 5000}), name="a short life")
    page = open_page(f"runs/{run_id}")
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)  # while it is queued or runs
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete a short life?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert world.get(f"/v1/runs/{run_id}")["status"] == "cancelled"
    page.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    assert world.http.get(f"/v1/runs/{run_id}").status_code == 404


def test_a_kind_that_the_server_does_not_have_is_named(open_page: OpenPage) -> None:
    page = open_page("runs/new/dance")
    expect(page.get_by_role("alert")).to_contain_text("no runs of kind “dance”")
