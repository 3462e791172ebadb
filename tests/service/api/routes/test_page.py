from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from service.api.routes.page import FRAME, default_page_path, page_router
from service.settings import ApiKey
from tests.service.api.conftest import OpenWorld, World


def policy_of(headers: dict[str, str]) -> dict[str, list[str]]:
    parts = [part.split() for part in headers["content-security-policy"].split(";")]
    return {name: values for name, *values in parts}


def small_page(folder: Path) -> TestClient:
    (folder / "js").mkdir()
    (folder / "index.html").write_text("<title>x</title>")
    (folder / "js" / "main.js").write_text("1")
    app = FastAPI()
    app.include_router(page_router(folder))
    return TestClient(app)


def test_the_page_is_open_though_its_data_is_not(open_world: OpenWorld) -> None:
    key = ApiKey(name="ann", scope="read", sha256=hashlib.sha256(b"secret").hexdigest())
    world = open_world(api_keys=(key,))
    page = world.client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert world.client.get("/web/js/main.js").headers["content-type"] == "text/javascript; charset=utf-8"
    assert world.client.get("/v1/maps").status_code == 401


def test_scripts_and_data_come_from_here_only(world: World) -> None:
    policy = policy_of(dict(world.client.get("/").headers))
    assert policy["default-src"] == ["'none'"]
    for kind in ("script-src", "style-src", "connect-src", "frame-src"):
        assert policy[kind] == ["'self'"], kind
    assert policy["require-trusted-types-for"] == ["'script'"]
    assert policy["trusted-types"] == ["'none'"]
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == ["'none'"]


def test_the_frame_of_reports_has_no_origin_and_no_connection(world: World) -> None:
    policy = policy_of(dict(world.client.get(f"/web/{FRAME}").headers))
    assert policy["sandbox"] == ["allow-scripts", "allow-downloads"]
    assert policy["default-src"] == ["'none'"]
    assert "connect-src" not in policy
    assert policy["frame-ancestors"] == ["'self'"]


def test_every_file_that_the_page_names_is_there(world: World) -> None:
    html = world.client.get("/").text
    named = [part.split('"')[0] for part in html.replace('src="', 'href="').split('href="')[1:]]
    files = [name for name in named if name.startswith("/web/")]
    assert len(files) > 5
    for name in files:
        assert world.client.get(name).status_code == 200, name
    for script in default_page_path().glob("js/**/*.js"):
        for line in script.read_text().splitlines():
            if (line.startswith("import") or 'from "' in line) and '"./' in line.replace('"../', '"./'):
                target = line.split('"')[1]
                assert (script.parent / target).resolve().is_file(), f"{script.name}: {target}"


def test_nothing_that_the_page_shows_becomes_markup() -> None:
    for script in default_page_path().glob("js/**/*.js"):
        text = script.read_text()
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert way not in text, f"{way} in {script.name}"


def test_a_file_is_sent_once_until_it_changes(tmp_path: Path) -> None:
    client = small_page(tmp_path)
    first = client.get("/web/js/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/web/js/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    (tmp_path / "js" / "main.js").write_text("23")
    changed = client.get("/web/js/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.text) == (200, "23")
    assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    "path", ["/web/nothing.js", "/web/", "/web/js", "/web/../secret.txt", "/web/%2e%2e/secret.txt", "/web//etc/passwd"]
)
def test_what_is_no_file_of_the_page_is_not_found(tmp_path: Path, path: str) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    assert small_page(tmp_path / "page").get(path).status_code == 404


def test_an_installation_without_a_page_says_so(tmp_path: Path) -> None:
    app = FastAPI()
    app.include_router(page_router(tmp_path / "none"))
    answer = TestClient(app).get("/")
    assert answer.status_code == 404
    assert "no web page" in answer.json()["detail"]


def test_unknown_files_are_problems_as_everywhere(world: World) -> None:
    answer = world.client.get("/web/nothing.js")
    assert answer.headers["content-type"] == "application/problem+json"
