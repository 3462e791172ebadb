"""The playground begins with an example, answers several times, and keeps a history in the browser."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.test_playground import PLACE, REFS, TEXT, complete, done
from tests.clients.web.world import World

HISTORY = "promptatlas-playground"


def text_of(page: Page) -> str:
    return page.get_by_label("Text", exact=True).input_value()


def test_it_begins_with_an_example_and_the_prompt_with_the_best_score(open_page: OpenPage, world: World) -> None:
    page = done(open_page("playground"))
    items = world.get("/v1/datasets/demo-qa", split="test", limit=20)["data"]
    assert text_of(page) == items[0]["input"]
    expect(page.locator(".answers .answer h2")).to_have_count(2)
    rows = world.get("/v1/prompts", manifests=True, limit=100)["data"]
    scores = {f"{row['name']}@{row['latest']}": row["manifest"]["metrics"].get("test/exact_match") for row in rows}
    shown = page.locator(".answers .answer h2").last.inner_text()
    assert scores[shown] == max(score for score in scores.values() if score is not None)
    expect(page.locator("main")).to_contain_text(f"Expected: {items[0]['target'].strip()}")
    page.get_by_role("button", name="Another example").click()
    expect(page.get_by_label("Text", exact=True)).to_have_value(items[1]["input"])
    done(page)
    assert f"prompts={shown.replace('@', '%40')}" in page.url


def test_the_example_of_a_given_prompt_is_from_its_dataset(open_page: OpenPage, world: World) -> None:
    page = done(open_page(f"playground?prompts={REFS[1]}"))
    items = world.get("/v1/datasets/demo-qa", split="test", limit=1)["data"]
    assert text_of(page) == items[0]["input"]
    expect(page.locator(".answers .answer h2")).to_have_text(["no prompt", REFS[1]])
    page.get_by_label("Text", exact=True).fill("Mira")
    expect(page.get_by_role("button", name="Another example")).to_have_count(0)


def test_a_text_that_was_typed_first_is_not_replaced(open_page: OpenPage, world: World) -> None:
    page = open_page("datasets")
    held: list[Any] = []
    page.route("**/v1/datasets/demo-qa?*", lambda route: held.append(route))
    page.goto(f"{world.url}/#/playground")
    page.get_by_label("Text", exact=True).fill("my own")
    while not held:
        page.wait_for_timeout(20)
    page.unroute("**/v1/datasets/demo-qa?*")  # which lets the held requests go on
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    assert text_of(page) == "my own"
    expect(page.locator(".answers .answer")).to_have_count(1)


def test_n_answers_are_those_of_the_api(open_page: OpenPage, world: World) -> None:
    page = done(open_page(f"{PLACE}&temperature=1.5&seed=3&n=3"))
    sent = {"model": "demo", "prompt": TEXT, "max_tokens": 4, "temperature": 1.5, "seed": 3, "n": 3, "logprobs": 8}
    choices = world.http.post("/v1/completions", json=sent).json()["choices"]
    card = page.locator(".answers .answer").first
    expect(card.locator("header")).to_contain_text("3 answers")
    texts = card.locator(".answer-text")
    expect(texts).to_have_count(3)
    for i, choice in enumerate(choices):
        tokens = [token.replace(" ", "·").replace("\n", "⏎") for token in choice["logprobs"]["tokens"]]
        expect(texts.nth(i).locator(".answer-token")).to_have_text(tokens)
    texts.nth(2).locator(".answer-token").first.click()
    expect(card).to_contain_text("Next token of answer 3")


def test_the_history_restores_the_form_and_is_cleared(open_page: OpenPage, world: World) -> None:
    page = done(open_page(PLACE))
    page.get_by_label("Text", exact=True).fill("Hugo is in the cave. Where is Hugo?")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Seed").fill("4")
    page.get_by_label(f"Remove {REFS[0]}").click()
    page.get_by_role("button", name="Run", exact=True).click()
    done(page)
    page.get_by_text("History (2)").click()
    entries = page.locator(".history-entry")
    expect(entries).to_have_count(2)
    expect(entries.first).to_contain_text("Hugo")
    entries.nth(1).click()
    assert text_of(page) == TEXT
    expect(page.get_by_label("Temperature")).to_have_value("0")
    expect(page.get_by_label("Seed")).to_have_value("")
    expect(page.get_by_label("Max tokens")).to_have_value("4")
    expect(page.locator(".answers .answer h2")).to_have_text(["no prompt", *REFS])
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Run", exact=True).click()
    done(page)
    expect(entries).to_have_count(2)  # the same request is kept once, now as the newest
    expect(entries.first).to_contain_text("Mira")
    expected = "".join(complete(world)["logprobs"]["tokens"]).replace(" ", "·")
    expect(page.locator(".answers .answer").first.locator(".answer-text")).to_have_text(expected)
    page.reload()
    page.get_by_text("History (2)").click()
    page.get_by_role("button", name="Clear the history").click()
    expect(page.get_by_text("History (0)")).to_be_visible()
    assert page.evaluate(f"localStorage.getItem('{HISTORY}')") is None


def test_the_history_is_bounded_and_survives_what_it_does_not_know(open_page: OpenPage, world: World) -> None:
    page = open_page("datasets")
    kept = "[...Array(60).keys()].map((i) => ({at: '2026-01-01T00:00:00Z', query: {text: `t${i}`, model: 'demo'}}))"
    page.evaluate(f"localStorage.setItem('{HISTORY}', JSON.stringify([null, {{query: 3}}, ...{kept}]))")
    page.goto(f"{world.url}/#/{PLACE}")
    done(page)
    expect(page.get_by_text("History (40)")).to_be_visible()
    page.evaluate(f"localStorage.setItem('{HISTORY}', 'no JSON')")
    page.reload()
    done(page)
    expect(page.get_by_text("History (1)")).to_be_visible()
