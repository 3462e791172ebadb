"""Attention patterns under a prompt, against plain transformers."""

from __future__ import annotations

import pytest
import torch
from playwright.sync_api import expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.demo_model import Forward, soft_vectors
from tests.clients.web.test_playground import PLACE, REFS, TEXT, complete, done
from tests.clients.web.world import World


@pytest.mark.parametrize("ref", [None, REFS[0]])
def test_each_head_attends_as_in_transformers(open_page: OpenPage, world: World, ref: str | None) -> None:
    page = done(open_page(f"{PLACE}&view=attention"))
    page.get_by_label("Prompt of the attention").select_option(ref or "")
    page.get_by_label("Layer of the attention").select_option("1")
    text = TEXT + complete(world, **({"prompt_ref": ref} if ref else {}))["text"]
    forward = Forward(text, soft_vectors(world, ref) if ref else None)
    pattern = forward.attentions[1]
    n_heads, n_keys, _ = pattern.shape
    grid = page.locator(".attention table")
    rows = grid.locator("tbody tr")
    expect(rows).to_have_count(n_heads + 1)
    expect(grid.locator("thead .virtual")).to_have_text([f"v{k + 1}" for k in range(forward.n_virtual)])
    expect(grid.locator("thead button")).to_have_count(n_keys - forward.n_virtual)
    for query in (-1, 5):
        if query >= 0:
            grid.locator("thead button").nth(query).click()
            expect(grid.locator("thead button").nth(query)).to_have_attribute("aria-pressed", "true")
            expect(grid.locator("thead button").nth(query)).to_be_focused()
        expected = pattern[:, query if query < 0 else forward.n_virtual + query]
        for head in (0, n_heads - 1):
            titles = rows.nth(head).locator(".heat").evaluate_all("cells => cells.map((cell) => cell.title)")
            found = torch.tensor([float(title.rpartition(": ")[2].removesuffix(" %")) / 100 for title in titles])
            torch.testing.assert_close(found, expected[head], rtol=0, atol=0.0006)  # a decimal of a percent is shown
        titles = rows.last.locator(".heat").evaluate_all("cells => cells.map((cell) => cell.title)")
        found = torch.tensor([float(title.rpartition(": ")[2].removesuffix(" %")) / 100 for title in titles])
        torch.testing.assert_close(found, expected.mean(0), rtol=0, atol=0.0006)
        if ref:
            share = float(expected[0, : forward.n_virtual].sum())
            shown = float(rows.first.locator("td").first.inner_text().removesuffix(" %"))
            assert shown == pytest.approx(100 * share, abs=0.51)
