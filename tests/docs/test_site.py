"""The documentation site: navigation and pages agree, links resolve, and nothing is loaded from another server."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SECTIONS = ["Get started", "Guides", "Concepts", "Reference", "Research", "Operations", "Development"]


def load_hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("repository_links", ROOT / "docs/hooks/repository_links.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hook = load_hook()
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
URIS: list[str] = list(hook.nav_uris(CONFIG["nav"]))


def test_the_navigation_has_the_sections_in_order() -> None:
    assert [name for section in CONFIG["nav"] for name in section] == SECTIONS


def test_every_page_is_in_the_navigation_once() -> None:
    pages = sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    assert sorted(uri for uri in URIS if not uri.startswith("repository/")) == pages
    assert len(set(URIS)) == len(URIS)


def test_every_entry_of_the_navigation_is_a_file() -> None:
    assert [uri for uri in URIS if not (ROOT / hook.repository_path(uri)).is_file()] == []


@pytest.mark.parametrize("uri", URIS)
def test_links_of_the_site_resolve_to_pages_and_copied_files(uri: str) -> None:
    text = (ROOT / hook.repository_path(uri)).read_text(encoding="utf-8")
    missing = []
    for path in hook.targets(text, uri=uri):
        in_site = hook.site_uri(path) in URIS if path.endswith(".md") else (ROOT / path).is_file()
        missing += [] if in_site else [path]
    assert missing == []


def test_links_are_rewritten_between_pages_and_copies() -> None:
    text = "[a](../CONTRIBUTING.md#set-up) [b](api.md) ![c](images/atlas.png) [d](https://x.org/y.md) [e](#top)"
    assert hook.rewritten(text, uri="engine.md") == (
        "[a](repository/CONTRIBUTING.md#set-up) [b](api.md) ![c](images/atlas.png) [d](https://x.org/y.md) [e](#top)"
    )
    card = "[a](EVALUATION.md) [b](../../docs/demo-model.md) [c](../train.py)"
    assert hook.rewritten(card, uri="repository/demo/model/README.md") == (
        "[a](EVALUATION.md) [b](../../../demo-model.md) [c](../train.py)"
    )


def test_lists_tables_and_fences_are_separated() -> None:
    text = "Parts:\n- one\n- two\nRows:\n| a |\n| - |\n```\nno:\n- change\n```\nSteps:\n1. x\n2. y\n"
    assert hook.rewritten(text, uri="a.md") == (
        "Parts:\n\n- one\n- two\nRows:\n\n| a |\n| - |\n\n```\nno:\n- change\n```\n\nSteps:\n\n1. x\n2. y\n"
    )


def test_the_site_loads_nothing_from_other_servers() -> None:
    assert CONFIG["theme"]["font"] is False
    assert CONFIG["plugins"] == ["search"]
    assert not {"extra_css", "extra_javascript"} & set(CONFIG)
    assert "://" not in re.sub(r"#.*", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def test_broken_links_and_unlisted_pages_are_errors() -> None:
    assert CONFIG["strict"] is True
    assert set(CONFIG["validation"]["nav"].values()) | set(CONFIG["validation"]["links"].values()) == {"warn"}


def test_images_of_pages_are_files() -> None:
    for uri in URIS:
        page = ROOT / hook.repository_path(uri)
        for target in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).is_file(), (uri, target)
