"""Steering in the playground: a stored steering prompt, and the difference of two texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import save
from torch import Tensor

from tests.clients.web.conftest import OpenPage
from tests.clients.web.demo_model import Forward, loaded
from tests.clients.web.test_playground import PLACE, TEXT, complete, done
from tests.clients.web.world import World

LAYERS = (1, 3)


@pytest.fixture
def vectors(world: World) -> Iterator[dict[int, Tensor]]:
    """By layer, the vectors of the stored steering prompt ``swerve``."""
    d_model = loaded()[0].config.hidden_size
    generator = torch.Generator().manual_seed(5)
    made = {layer: torch.randn(d_model, generator=generator) for layer in LAYERS}
    header = {"promptatlas": json.dumps({"kind": "steering", "base": "demo"})}
    content = save({f"steering.{layer}": vector for layer, vector in made.items()}, metadata=header)
    headers = {"Content-Type": "application/vnd.safetensors"}
    answer = world.http.post("/v1/prompts", params={"name": "swerve"}, content=content, headers=headers)
    assert answer.status_code in (200, 201), answer.text
    yield made
    world.http.delete(f"/v1/prompts/swerve/versions/{answer.json()['version']}")


def shown(page: Page) -> Any:
    return page.locator(".mix-answer .answer-token")


def visible(tokens: list[str]) -> list[str]:
    return [token.replace(" ", "·").replace("\n", "⏎") for token in tokens]


def steered(world: World, directions: dict[int, Tensor], *, strength: float) -> list[str]:
    """The tokens of a completion with the directions added, requested from the API directly."""
    interventions = [
        {
            "site": "resid_post",
            "layers": [layer],
            "positions": "all",
            "op": "add",
            "value": str(layer),
            "strength": strength,
        }
        for layer in directions
    ]
    body = {
        "model": "demo",
        "prompt": TEXT,
        "max_tokens": 4,
        "temperature": 0,
        "logprobs": 8,
        "interventions": interventions,
    }
    files: Any = {
        "request": (None, json.dumps(body), "application/json"),
        "tensors": (
            "t",
            save({str(layer): vector for layer, vector in directions.items()}),
            "application/octet-stream",
        ),
    }
    answer = world.http.post("/v1/completions", files=files)
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json()["choices"][0]["logprobs"]["tokens"]
    return found


def test_a_steering_prompt_at_any_scale(open_page: OpenPage, world: World, vectors: dict[int, Tensor]) -> None:
    page = done(open_page(f"{PLACE}&view=steer"))
    expect(page.get_by_label("Direction", exact=True)).to_have_value("swerve@1")
    expected = complete(world, prompt_ref="swerve@1")["logprobs"]["tokens"]
    expect(shown(page)).to_have_text(visible(expected))  # scale 1 at all its layers is the prompt itself
    expect(page.locator(".mix-answer h2")).to_have_text("swerve@1 × 1")
    page.get_by_label("Layer of the direction").select_option("3")
    page.get_by_label("Scale of the direction").fill("6.5")
    expect(page.locator(".mix-answer h2")).to_have_text("swerve@1 × 6.5")
    expected = steered(world, {3: vectors[3]}, strength=6.5)
    expect(shown(page)).to_have_text(visible(expected))
    assert expected != complete(world)["logprobs"]["tokens"]
    page.get_by_label("Scale of the direction").fill("0")
    expect(page.locator(".mix-answer h2")).to_have_text("swerve@1 × 0")
    expect(shown(page)).to_have_text(visible(complete(world)["logprobs"]["tokens"]))


def test_the_difference_of_two_texts(open_page: OpenPage, world: World) -> None:
    texts = ("Hugo is in the garden.", "What is 3 plus 4?")
    page = done(open_page(f"{PLACE}&view=steer"))
    expect(page.get_by_label("Direction", exact=True)).to_have_value("")
    expect(page.get_by_text("Enter two texts")).to_be_visible()
    page.get_by_label("Layer of the direction").select_option("2")
    page.get_by_label("Scale of the direction").fill("4")
    page.get_by_label("Toward the text").fill(texts[0])
    page.get_by_label("Away from the text").fill(texts[1])
    toward, away = (Forward(text).states[2].mean(0) for text in texts)
    direction = (toward - away).clone()
    expect(page.get_by_text("Length of the direction")).to_contain_text(f"{float(direction.norm()):.3g} at layer 2")
    expected = steered(world, {2: direction}, strength=4)
    expect(page.locator(".mix-answer h2")).to_have_text("difference × 4")
    expect(shown(page)).to_have_text(visible(expected))
