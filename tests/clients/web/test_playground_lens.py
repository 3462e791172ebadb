"""Two lenses and their divergence, and how the grid scrolls."""

from __future__ import annotations

import re

import torch
from playwright.sync_api import Locator, Page, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.demo_model import Forward, loaded, soft_vectors
from tests.clients.web.test_playground import PLACE, REFS, TEXT, complete, done
from tests.clients.web.test_runs import short
from tests.clients.web.world import World

LEFT, RIGHT = re.compile(r"\bmore-left\b"), re.compile(r"\bmore-right\b")


def compared(page: Page, first: str, second: str) -> Locator:
    """The grid of two prompts."""
    page.get_by_label("Prompt of the lens").select_option(first)
    page.get_by_label("Compare the lens with").select_option(second)
    grid = page.locator(".lens table")
    expect(grid.locator("tbody")).to_have_count(3)
    return grid


def rows_of(part: Locator) -> Locator:
    return part.locator("tr").filter(has=part.page.locator("td"))


def test_the_divergence_is_that_of_the_distributions(open_page: OpenPage, world: World) -> None:
    page = done(open_page(PLACE))
    grid = compared(page, REFS[0], "")
    text = TEXT + complete(world, prompt_ref=REFS[0])["text"]
    tuned, bare = Forward(text, soft_vectors(world, REFS[0])), Forward(text)
    expect(grid.locator(".part-name")).to_have_text(
        [REFS[0], "no prompt", f"KL divergence of no prompt from {REFS[0]}, in nats"]
    )
    model, _ = loaded()
    n_layers = len(model.model.layers)
    parts = [rows_of(grid.locator("tbody").nth(k)) for k in range(3)]
    assert [part.count() for part in parts] == [n_layers] * 3
    _, tokenizer = loaded()
    for layer in range(n_layers):
        p, q = tuned.lens(layer).double(), bare.lens(layer).double()
        expected = (p.exp() * (p - q)).sum(-1)
        cells = parts[2].nth(n_layers - 1 - layer).locator("button")
        found = torch.tensor([0.0 if cell == "< 0.001" else float(cell) for cell in cells.all_inner_texts()])
        torch.testing.assert_close(found.double(), expected, rtol=0.051, atol=1e-3)  # two digits are shown
        for part, lens in zip(parts[:2], (p, q), strict=True):
            best = [tokenizer.decode(int(i)) for i in lens.argmax(-1)]
            shown = part.nth(n_layers - 1 - layer).locator("button").all_inner_texts()
            same = sum(a == b.replace(" ", "·").replace("\n", "⏎") for a, b in zip(shown, best, strict=True))
            assert same >= len(best) - 1  # a tie may be ordered otherwise
    assert expected.max() > 0.1


def test_the_api_answers_the_divergence_to_rounding(world: World) -> None:
    body = {"model": "demo", "inputs": [TEXT], "prompt_ref": REFS[0], "against": None, "layers": [2, -1]}
    answer = world.http.post("/v1/activations/divergence", json=body).json()
    tuned, bare = Forward(TEXT, soft_vectors(world, REFS[0])), Forward(TEXT)
    last = len(tuned.states) - 1
    assert set(answer["kl"]) == {"resid_post.2", f"resid_post.{last}"}
    assert answer["row_offsets"] == [0, len(answer["token_ids"])]
    assert (answer["prompt"]["ref"], answer["against"]) == (REFS[0], None)
    for layer in (2, last):
        p, q = tuned.lens(layer).double(), bare.lens(layer).double()
        found = torch.tensor(answer["kl"][f"resid_post.{layer}"]).double()
        torch.testing.assert_close(found, (p.exp() * (p - q)).sum(-1), rtol=1e-3, atol=1e-5)
    same = world.http.post("/v1/activations/divergence", json={**body, "against": REFS[0]}).json()
    assert max(same["kl"]["resid_post.2"]) < 1e-6


def test_what_cannot_be_compared_is_refused(world: World) -> None:
    body = {"model": "demo", "inputs": [TEXT], "prompt_ref": None, "against": REFS[0]}
    for change, status, loc in (
        ({"against": "nobody@3"}, 404, ["against"]),
        ({"prompt_ref": "nobody@3"}, 404, ["prompt_ref"]),
        ({"sites": ["attn_probs"]}, 422, ["sites"]),
        ({"sites": ["logits"]}, 422, ["sites"]),
        ({"layers": [99]}, 422, ["layers", 0]),
        ({"reduce": "mean"}, 422, ["reduce"]),
    ):
        answer = world.http.post("/v1/activations/divergence", json={**body, **change})
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (status, loc), answer.text


def test_a_cell_shows_both_distributions(open_page: OpenPage, world: World) -> None:
    page = done(open_page(PLACE))
    grid = compared(page, REFS[0], REFS[1])
    cell = rows_of(grid.locator("tbody").nth(2)).first.locator("button").nth(3)
    cell.hover()
    detail = page.locator(".lens-detail")
    expect(detail.locator(".bar-row")).to_have_count(12)
    expect(detail.locator("h4")).to_have_text(list(REFS))
    body = {"model": "demo", "inputs": [TEXT], "prompt_ref": REFS[0], "against": REFS[1], "layers": [-1]}
    (values,) = world.http.post("/v1/activations/divergence", json=body).json()["kl"].values()
    expect(detail.locator("h3")).to_contain_text(f"{short(values[3])} nats")
    page.get_by_label("Compare the lens with").select_option("-")
    expect(page.locator(".lens tbody")).to_have_count(1)


def test_the_layers_stay_in_place_and_fades_show_where_there_is_more(open_page: OpenPage) -> None:
    page = done(open_page(PLACE))
    grid = page.locator(".lens")
    frame = page.locator(".fades")
    expect(frame).to_have_class(RIGHT)
    expect(frame).not_to_have_class(LEFT)
    first, label = grid.locator("tbody th").first, grid.locator("thead th").first
    before = (first.bounding_box(), label.bounding_box())
    grid.evaluate("grid => grid.scrollTo(120, 0)")
    expect(frame).to_have_class(LEFT)
    expect(frame).to_have_class(RIGHT)
    assert (first.bounding_box(), label.bounding_box()) == before
    grid.evaluate("grid => grid.scrollTo(1e6, 0)")
    expect(frame).to_have_class(LEFT)
    expect(frame).not_to_have_class(RIGHT)
    while frame.evaluate("frame => getComputedStyle(frame, '::after').opacity") != "0":
        page.wait_for_timeout(20)  # the fade takes 120 ms
    compared(page, REFS[0], "")
    grid = page.locator(".lens")
    head = grid.locator("thead th").nth(1)
    top = head.bounding_box()
    grid.evaluate("grid => grid.scrollTo(0, 150)")
    assert head.bounding_box() == top
