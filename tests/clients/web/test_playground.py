"""Tests of the playground against direct requests to the API."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal
from unittest.mock import patch
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.clients.web.conftest import OpenPage
from tests.clients.web.world import KEY, World

TEXT = "Mira went to the mill. Hugo is in the cave. Where is Mira?"
REFS = ("qa-isotropic-0@1", "qa-vocabulary-0@1")
PLACE = f"playground?text={quote(TEXT)}&prompts={','.join(REFS)}&tokens=4"


def complete(world: World, **more: Any) -> dict[str, Any]:
    body = {"model": "demo", "prompt": TEXT, "max_tokens": 4, "temperature": 0, "logprobs": 8, **more}
    choice: dict[str, Any] = world.http.post("/v1/completions", json=body).json()["choices"][0]
    return choice


def tokens_of(page: Page, variant: str) -> str:
    """The tokens of the answer in the card of a variant."""
    return "".join(
        page.locator(".answers .answer").filter(has_text=variant).locator(".answer-token").all_inner_texts()
    ).replace("·", " ")


def done(page: Page) -> Page:
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    expect(page.locator(".answers .answer header span").first).to_contain_text("token")
    return page


def test_every_variant_answers_like_the_api(open_page: OpenPage, world: World) -> None:
    page = done(open_page(PLACE))
    for variant, more in (("no prompt", {}), *((ref, {"prompt_ref": ref}) for ref in REFS)):
        expected = complete(world, **more)
        assert tokens_of(page, variant) == "".join(expected["logprobs"]["tokens"])
        bars = page.locator(".answers .answer").filter(has_text=variant).locator(".bar-row")
        top = max(expected["logprobs"]["top_logprobs"][0].items(), key=lambda item: item[1])[0]
        expect(bars.first.locator(".token")).to_have_text(top.replace(" ", "·"))
        expect(bars).to_have_count(8)


def test_a_token_shows_its_alternatives(open_page: OpenPage, world: World) -> None:
    page = done(open_page(PLACE))
    card = page.locator(".answers .answer").first
    card.locator(".answer-token").nth(1).click()
    expect(card).to_contain_text("Token 2")
    expected = complete(world)["logprobs"]["top_logprobs"][1]
    best = max(expected.items(), key=lambda item: item[1])[0]
    expect(card.locator(".bar-row .token").first).to_have_text(best.replace(" ", "·"))


def test_prompts_are_added_and_removed(open_page: OpenPage, world: World) -> None:
    page = done(open_page(PLACE))
    page.get_by_label("Add a prompt").select_option("qa-vocabulary-1@1")
    expect(page.locator(".answers .answer")).to_have_count(4)
    done(page)
    assert tokens_of(page, "qa-vocabulary-1@1")
    page.get_by_label("Remove qa-isotropic-0@1").click()
    expect(page.locator(".answers .answer")).to_have_count(3)
    assert "qa-isotropic-0" not in page.url


@pytest.mark.parametrize("ref", [None, REFS[0]])
def test_the_top_row_of_the_lens_is_the_model_output(open_page: OpenPage, world: World, ref: str | None) -> None:
    page = done(open_page(PLACE))
    page.get_by_label("Prompt of the lens").select_option(ref or "")
    grid = page.locator(".lens table")
    answer = complete(world, **({"prompt_ref": ref} if ref else {}))
    body = {
        "model": "demo",
        "inputs": [TEXT + answer["text"]],
        "sites": ["resid_post"],
        "layers": [2],
        "reduce": {"lens": 1},
    }
    if ref:
        body["prompt_ref"] = ref
    found = world.http.post("/v1/activations", json=body, headers={"Accept": "application/json"}).json()
    texts = found["promptatlas"]["tokens"]
    heads = grid.locator("thead .token")
    expect(heads).to_have_count(len(found["token_ids"]))
    row = grid.locator("tbody tr").filter(has=page.get_by_role("rowheader", name="2", exact=True)).locator("button")
    expected = [texts[str(ids[0])].replace(" ", "·") for ids in found["resid_post.2.lens_ids"]]
    expect(row).to_have_text(expected)
    # The top row is the output of the model: after the text it shows the first token of the answer.
    n_text = len(
        world.http.post(
            "/v1/activations", json={**body, "inputs": [TEXT]}, headers={"Accept": "application/json"}
        ).json()["token_ids"]
    )
    top = grid.locator("tbody tr").first.locator("button").nth(n_text - 1)
    expect(top).to_have_text(answer["logprobs"]["tokens"][0].replace(" ", "·"))
    top.hover()
    expect(page.locator(".lens-detail .bar-row")).to_have_count(6)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_higher_probability_has_a_stronger_colour(open_page: OpenPage, theme: Literal["light", "dark"]) -> None:
    """Stronger: further from the background of the card, in both themes, as the hint says."""
    page = done(open_page(PLACE, theme=theme))
    expect(page.locator("main")).to_contain_text("A stronger colour means a higher probability")
    page.locator(".lens td button").first.wait_for()
    cells = page.evaluate(
        """() => {
          const bytes = (css) => {
            const context = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d");
            context.fillStyle = css;
            context.fillRect(0, 0, 1, 1);
            return [...context.getImageData(0, 0, 1, 1).data];
          };
          const card = bytes(getComputedStyle(document.querySelector(".lens").closest(".card")).backgroundColor);
          return [...document.querySelectorAll(".lens td button")].map((cell) => {
            const own = bytes(getComputedStyle(cell).backgroundColor);
            const distance = Math.hypot(...own.map((value, i) => value - card[i]));
            return [Number.parseFloat(cell.title), distance];
          });
        }"""
    )
    cells.sort()
    distances = [distance for _, distance in cells]
    assert cells[0][0] < 30 < 90 < cells[-1][0]
    assert distances[-1] - distances[0] > 30
    assert all(after >= before - 2 for before, after in pairwise(distances))  # two bytes of rounding


def test_answers_are_drawn_on_a_map(open_page: OpenPage, world: World) -> None:
    page = done(open_page(f"{PLACE}&view=map"))
    expect(page.locator(".on-map .point-map")).to_be_visible()
    expect(page.locator(".legend")).to_contain_text("no prompt")
    expect(page.get_by_label("Trajectory", exact=True).locator("option")).to_have_count(1 + 3)
    page.get_by_label("Trajectory", exact=True).select_option("1")
    expect(page.locator(".trajectory-tokens .token").first).to_have_text("Mira")


def test_the_slider_mixes_two_prompts(open_page: OpenPage, world: World) -> None:
    page = done(open_page(f"{PLACE}&view=mix"))
    for share in ("0.24", "0.8"):
        mix = {"mix": [{"ref": REFS[0], "weight": 1 - float(share)}, {"ref": REFS[1], "weight": float(share)}]}
        expected = "".join(complete(world, prompt_ref=mix)["logprobs"]["tokens"])
        page.get_by_label("Weight of the second prompt").fill(share)
        expect(page.locator(".mix-answer h2")).to_have_text(
            f"{1 - float(share):.2g} {REFS[0]} + {float(share):.2g} {REFS[1]}"
        )
        answer = page.locator(".mix-answer .answer-token")
        expect(answer).to_have_text(
            [t.replace(" ", "·") for t in complete(world, prompt_ref=mix)["logprobs"]["tokens"]]
        )
        assert expected


def test_prompts_in_sequence_answer_in_their_order(open_page: OpenPage, world: World) -> None:
    page = done(open_page(f"{PLACE}&view=concat"))
    shown = page.locator(".mix-answer .answer-token")

    def expect_answer(refs: list[str]) -> None:
        tokens = complete(world, prompt_ref={"concat": refs})["logprobs"]["tokens"]
        expect(page.locator(".mix-answer h2")).to_have_text(" then ".join(refs))
        expect(shown).to_have_text([token.replace(" ", "·") for token in tokens])

    expect_answer([*REFS])
    page.get_by_label(f"Move earlier: 2, {REFS[1]}").click()
    expect_answer([REFS[1], REFS[0]])
    page.get_by_label("Append a prompt").select_option("qa-vocabulary-1@1")
    expect_answer([REFS[1], REFS[0], "qa-vocabulary-1@1"])
    page.get_by_label(f"Remove: 2, {REFS[0]}").click()
    expect_answer([REFS[1], "qa-vocabulary-1@1"])
    page.get_by_label(f"Remove: 1, {REFS[1]}").click()
    expect(page.locator(".mix-answer")).to_contain_text("at least two prompts")
    expect(shown).to_have_count(0)


def test_an_error_is_shown_in_its_card(open_page: OpenPage, world: World) -> None:
    page = open_page(f"playground?text=x&prompts={REFS[0]},nobody@3")
    card = page.locator(".answers .answer").filter(has_text="nobody@3")
    expect(card.get_by_role("alert")).to_contain_text("nobody")
    expect(page.locator(".answers .answer").filter(has_text=REFS[0]).locator(".answer-token").first).to_be_visible()


def test_texts_are_not_interpreted_as_markup(open_page: OpenPage, world: World) -> None:
    page = done(open_page(f"playground?text={quote('<img src=x onerror=window.broken=1>')}&prompts={REFS[0]}"))
    expect(page.locator(".lens table")).to_be_visible()
    assert page.evaluate("window.broken") is None
    assert page.locator("main img").count() == 0


def test_a_run_is_stopped(open_page: OpenPage) -> None:
    page = done(open_page("playground?prompts="))
    page.route("**/v1/completions", lambda route: None)  # an answer that never comes
    page.get_by_label("Text", exact=True).fill("Mira")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator(".answer")).to_contain_text("0 tokens, stopped")
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)


def test_the_completion_as_code_gives_the_same_answer(open_page: OpenPage, world: World) -> None:
    page = done(open_page("playground?prompts=qa-isotropic-0@1"))
    page.get_by_label("Text", exact=True).fill("Mira went to the mill.")
    page.get_by_label("Temperature").fill("1")
    page.get_by_label("Top-p").fill("0.9")
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Stop strings").fill("zebra,@@")
    page.get_by_text("As code").click()
    page.get_by_role("tab", name="Python").click()
    code = page.get_by_label("Python code").inner_text()
    sent = {
        "model": "demo",
        "prompt": "Mira went to the mill.",
        "prompt_ref": "qa-isotropic-0@1",
        "max_tokens": 16,
        "temperature": 1,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["zebra", "@@"],
    }
    answer = world.http.post("/v1/completions", json=sent).json()["choices"][0]["text"]
    printed: list[str] = []
    with patch.dict("os.environ", {"PROMPTATLAS_API_KEY": KEY}):
        exec(compile(code, "copied", "exec"), {"print": printed.append})
    assert printed == [answer]
    page.get_by_role("button", name="Run", exact=True).click()
    shown = page.locator(".answer").last.locator(".answer-token")
    expect(shown.first).to_be_visible()
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    text = "".join(shown.all_inner_texts()).removesuffix(
        "<|endoftext|>"
    )  # the ending token is shown, not part of the text
    assert text.replace("·", " ").replace("⏎", "\n") == answer
